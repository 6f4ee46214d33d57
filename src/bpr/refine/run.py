"""One refinement run: read the input, resume, predict the images that are left, write the results."""

import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_utilities.core.rank_zero import rank_zero_only

from bpr.cli.signals import interruption, say
from bpr.data.datamodule import RefinementDataModule
from bpr.data.image_records import StoredRecords
from bpr.data.inputs import RefinementInput, read_input
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.files import FullDiskError
from bpr.models.backends import choose_backend
from bpr.models.quantisation import int8_folder
from bpr.models.refiner import Inference, load_refiner
from bpr.models.trainer import MakeTrainer, capped_trainer, is_spread, workers_ahead_of
from bpr.models.watch import Watch
from bpr.models.weights import load_segmenter, resolve_checkpoint
from bpr.patches.engine import Method
from bpr.refine.digest import digest, image_state, what_counts
from bpr.refine.merging import merge_shards
from bpr.refine.outputs import check_companions, choose_output, sweep_outputs
from bpr.refine.settings import RefineSettings
from bpr.refine.shards import (
    begin_output,
    count_images,
    discard_shards,
    end_output,
    lock_file,
    other_run,
    parts_folder,
    read_shards,
)
from bpr.refine.summary import FinishedRun, RefinementSummary
from bpr.refine.writer import RefinementWriter
from bpr.structures import Backend, OnError, Round, SettingError


def paths_of(records: StoredRecords) -> dict[int | str, Path]:
    """Files of images, by image id."""
    return dict(zip(records.image_ids, records.paths, strict=True))


class RefinementRun:
    """Keeps the shards of a run in ``OUTPUT.parts`` until all that it writes is there.

    Repeating an interrupted run with the same predictions, images, weights and settings does the images that are
    left; with others it is refused, so that no file can mix two runs.

    Args:
        output: Results file to write.
        settings: Everything that determines the masks, as primitives; files by their content.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.output = output
        self.folder = parts_folder(output)
        self.digest = digest(settings)
        self._lock = FileLock(lock_file(self.folder))

    def claim(self) -> None:
        """Lock the output against other runs until this process ends or the run is finished.

        Raises:
            bpr.formats.errors.FormatError: If another run is writing to it, or a file of the user's has the name
                of the lock or of the folder of the shards.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(self._lock.lock_file)
        foreign = [self.folder] if self.folder.exists() and not self.folder.is_dir() else []
        foreign += [lock] if lock.exists() and lock.stat().st_size else []
        if foreign:
            problem = "is needed for the progress of the run, but is a file of yours; rename it"
            raise FormatError(foreign[0], None, problem)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            problem = "another refine.py is writing to it; wait for it, or give another `output`"
            raise FormatError(self.output, None, problem) from error
        except OSError as error:
            problem = f"cannot be locked by {lock.name} ({error.strerror}); give another `output`, or a shorter one"
            raise FormatError(self.output, None, problem) from error

    def discard_others(self) -> None:
        """Remove the shards of other interrupted runs with the same output; safe in all ranks at once."""
        discard_shards(self.folder, but=self.digest)
        end_output(self.folder)

    def remaining(self, records: StoredRecords, keeps: bool = True) -> StoredRecords:
        """The images that are not in a shard yet, in their order; ``keeps``: whether some may have been bad.

        Raises:
            FormatError: If the shards are of another run, or an image in them has changed or was bad.
        """
        paths, done = paths_of(records), set[int | str]()
        for line in read_shards(self.folder, self.digest):
            image, path = line.image, paths.get(line.image.image_id)
            if path is not None and image.state is not None and image.state != image_state(path):
                raise other_run(line.path, ["images"])
            if image.fault is not None and not keeps:
                problem = f"{image.fault.problem}; repeat on_error=keep to finish the run that left it as it is"
                raise FormatError(image.fault.place, None, problem)
            done.add(image.image_id)
        return records.without(done)

    def finish(self, given: RefinementInput, keep: bool = False) -> tuple[list[tuple[Entry, Entry]], RefinementSummary]:
        """Merge the shards in the order of the input, which is read once, and write the results file.

        Gives coarse and refined entries, in order, if they are to be kept, and what the run did. `FormatError` if an
        image has not been refined.
        """
        merged, summary = merge_shards(
            self.folder, self.digest, given.predictions.entries, len(given.records.usable), given.faults
        )
        kept: list[tuple[Entry, Entry]] = []

        def refined() -> Iterator[Entry]:
            for pair in merged:
                if keep:
                    kept.append(pair)
                yield pair[1]

        begin_output(self.folder)
        notes = given.predictions.write(self.output, refined())
        return kept, replace(summary, notes=notes)

    def close(self) -> None:
        """Remove the shards and the lock, once nothing is left to be written.

        Last goes the note that the output is our own: until then, a repeat may write it again.
        """
        discard_shards(self.folder)
        if self._lock.is_locked:
            self._lock.release()
            lock_file(self.folder).unlink(missing_ok=True)
        end_output(self.folder)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose input is read and whose output is locked; ``left`` are the images to do, ``start`` is in seconds."""

    settings: RefineSettings
    given: RefinementInput
    shards: RefinementRun
    left: StoredRecords
    checkpoint: Path
    backend: Backend
    rounds: tuple[Round, ...]
    start: float

    @property
    def network(self) -> str:
        """What refines the masks, as people read it."""
        mirrored = ", patches also mirrored" if self.settings.flip else ""
        return f"network: {self.checkpoint.stem}, backend {self.backend}, rounds {', '.join(self.rounds)}{mirrored}"

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """If the block is interrupted, say in the first process what is kept, and which command goes on."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            if interruption(error) is not None:
                self._say_what_is_kept()
            raise
        except FullDiskError as error:
            raise FullDiskError(f"{error}. {self.kept()}; {self.resuming()}") from error

    @rank_zero_only
    def _say_what_is_kept(self) -> None:
        if self.shards.folder.is_dir():
            say(f"interrupted: {self.kept()}; {self.resuming()}")

    def kept(self) -> str:
        """How many images are done, for people."""
        images = len(self.given.records.usable)
        done = min(count_images(self.shards.folder), images)
        return f"{done} of {images} images are done and kept beside {self.shards.output}"

    def resuming(self) -> str:
        """Which command resumes the run, for people."""
        output = shlex.quote(f"output={self.shards.output}")
        return f"the same command{f' with {output}' if self.settings.output is None else ''} resumes"

    def finish(self) -> FinishedRun:
        """Write the results; only in the process that `predict` names, once all are done.

        The entries are kept only where scores, report or contact sheet are asked for.
        """
        given, annotations = self.given, self.given.annotations
        scored = annotations is not None and annotations.has_truths
        kept, summary = self.shards.finish(given, scored or self.settings.report or self.settings.contact_sheet)
        coarse = replace(given.predictions, entries=[before for before, _ in kept])
        return FinishedRun(
            replace(given.records, predictions=coarse),
            coarse,
            replace(coarse, path=self.shards.output, entries=[after for _, after in kept]),
            annotations,
            summary,
            time.perf_counter() - self.start,
        )


def open_run(settings: RefineSettings, make_trainer: MakeTrainer) -> OpenRun:
    """Read the input and start or resume the run, holding the lock on its output.

    Raises:
        FormatError: If a file is wrong, or something would be written over.
        SettingError: If the trainer does not suit this machine.
        bpr.models.weights.CheckpointError: If there are no such weights.
    """
    start = time.perf_counter()
    checkpoint = resolve_checkpoint(settings.ckpt)
    paths = settings.images, settings.predictions, settings.annotations
    given = read_input(
        *paths,
        settings.format,
        settings.exif,
        settings.ignore_label,
        settings.polygon_tolerance,
        settings.on_error,
        settings.crowds,
    )
    inputs = given.inputs(checkpoint)
    output = choose_output(settings.output, given, settings.folder, settings.overwrite, inputs)
    check_companions(output, inputs, settings.overwrite, settings.report, settings.contact_sheet)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    trainer = make_trainer()
    if trainer.world_size == 1 and getattr(rank_zero_only, "rank", None):
        problem = "several processes were started, but the trainer has one"
        raise SettingError(f"{problem}; set trainer.devices to their number")
    backend = settings.backend or choose_backend(trainer.strategy.root_device, len(given.predictions.entries))
    rounds = settings.rounds or settings.preset.rounds(load_segmenter(checkpoint).rounds)
    quantised = _quantised(settings, checkpoint) if backend is Backend.openvino_int8 else None
    counts = what_counts(settings, given, checkpoint, backend, rounds, str(trainer.precision), quantised)
    shards = RefinementRun(output, counts)
    if trainer.is_global_zero:
        shards.claim()
        sweep_outputs(output, given.predictions.format)
    if settings.overwrite:
        shards.discard_others()
    left = shards.remaining(given.records.usable, settings.on_error is OnError.keep)
    return OpenRun(settings, given, shards, left, checkpoint, backend, rounds, start)


def _quantised(settings: RefineSettings, checkpoint: Path) -> str:
    """The name of the quantised network that is run."""
    segmenter = load_segmenter(checkpoint, settings.input_size, None if settings.trust else False)
    return int8_folder(segmenter, settings.cache / "openvino").name


def predict(run: OpenRun, make_trainer: MakeTrainer) -> bool:
    """Refine the images that are left into shards, on all devices.

    Returns:
        Whether this process is the one that finishes the run; it has waited for the others.
    """
    settings, shards = run.settings, run.shards
    writer = RefinementWriter(shards.folder, shards.digest, paths_of(run.left))
    watch = Watch(shards.folder, lambda: f"{run.kept()}; {run.resuming()}")
    options = {"callbacks": [writer, watch], "use_distributed_sampler": False}
    trainer = capped_trainer(partial(make_trainer, **options), len(run.left))
    if not run.left and not is_spread(trainer):
        return True
    if settings.threads:
        torch.set_num_threads(settings.threads)
    method = Method(settings.patch, flip=settings.flip, threshold=settings.threshold)
    inference = Inference(method, settings.patches_per_forward, run.backend, settings.cache / "openvino")
    refiner = load_refiner(run.checkpoint, settings.input_size, inference, settings.trust, run.rounds)
    method = refiner.inference.method  # with the input size of the network
    workers = settings.num_workers
    workers = workers_ahead_of(trainer.strategy.root_device) if workers is None else workers
    images = run.left, method, settings.images_per_batch, workers, settings.on_error, settings.min_score
    datamodule = RefinementDataModule(*images)
    with watch.during(trainer):
        try:
            trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
        except FormatError as error:
            remedy = f"{run.resuming()}, with the image repaired or with on_error=keep"
            raise FormatError(f"{error}. {run.kept()}; {remedy}") from error
        watch.wait()
        trainer.strategy.barrier()
    return bool(trainer.is_global_zero)
