"""One refinement run: read the input, resume, predict the images that are left, write the results."""

import logging
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from lightning_utilities.core.rank_zero import rank_zero_only

from bpr.cli.command import is_out_of_memory
from bpr.cli.signals import interruption, say
from bpr.data.datamodule import RefinementDataModule
from bpr.data.image_records import StoredRecords
from bpr.data.inputs import RefinementInput, read_input
from bpr.formats.errors import FormatError
from bpr.formats.files import FullDiskError
from bpr.models.backends import choose_backend
from bpr.models.quantisation import int8_folder
from bpr.models.refiner import Inference, load_refiner
from bpr.models.trainer import MakeTrainer, capped_trainer, is_spread, workers_ahead_of
from bpr.models.watch import Watch
from bpr.models.weights import load_segmenter, resolve_checkpoint
from bpr.patches.engine import Method
from bpr.refine.digest import what_counts
from bpr.refine.outputs import check_outputs, sweep_outputs
from bpr.refine.progress import RefinementRun, paths_of
from bpr.refine.settings import RefineSettings
from bpr.refine.shards import count_images
from bpr.refine.summary import FinishedRun
from bpr.refine.writer import RefinementWriter
from bpr.structures import Backend, OnError, Round, SettingError


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
        except FullDiskError as error:
            raise FullDiskError(f"{error}. {self.kept()}; {self.resuming()}") from error
        except BaseException as error:
            if interruption(error) is not None or is_out_of_memory(error):
                self._say_what_is_kept()
            raise

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
    check = partial(check_outputs, settings, given, given.inputs(checkpoint))
    output = check()
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
        with shards.unlocked_at_errors():
            check()  # again: another run may have finished until it was locked
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
