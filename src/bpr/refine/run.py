"""One refinement run: read the input, resume, predict the images that are left, write the results."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_utilities.core.rank_zero import rank_zero_only

from bpr.data.datamodule import RefinementDataModule
from bpr.data.records import StoredRecords
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.models.backends import choose_backend
from bpr.models.refiner import Inference, load_refiner
from bpr.models.trainer import MakeTrainer, capped_trainer, is_spread, workers_ahead_of
from bpr.models.weights import resolve_checkpoint
from bpr.patches.engine import Method
from bpr.refine.digest import digest, what_counts
from bpr.refine.inputs import RefinementInput, read_input
from bpr.refine.merging import merge_shards
from bpr.refine.outputs import check_companions, choose_output
from bpr.refine.settings import RefineSettings
from bpr.refine.shards import discard_shards, read_shards
from bpr.refine.summary import FinishedRun, RefinementSummary
from bpr.refine.writer import RefinementWriter
from bpr.structures import Backend, SettingError

Write = Callable[[Path, Iterable[Entry]], object]
"""Writes entries to a file or folder."""


class RefinementRun:
    """Keeps the shards of a run in ``OUTPUT.parts`` until its results file is written.

    Repeating an interrupted run with the same predictions, images, weights and settings does the images that are
    left; with others it is refused, so that no file can mix two runs.

    Args:
        output: Results file to write.
        settings: Everything that determines the masks, as primitives; files by their content.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.output = output
        self.folder = output.with_name(output.name + ".parts")
        self.digest = digest(settings)
        self._lock = FileLock(f"{self.folder}.lock")

    def claim(self) -> None:
        """Lock the output against other runs until this process ends or the run is finished.

        Raises:
            bpr.formats.errors.FormatError: If another run is writing to it, or a file of the user's has the name
                of the lock or of the folder of the shards.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(self._lock.lock_file)
        if (self.folder.exists() and not self.folder.is_dir()) or (lock.exists() and lock.stat().st_size):
            foreign = lock if self.folder.is_dir() or not self.folder.exists() else self.folder
            raise FormatError(foreign, None, "is needed for the progress of the run, but is a file of yours; rename it")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            problem = "another refine.py is writing to it; wait for it, or give another `output`"
            raise FormatError(self.output, None, problem) from error

    def discard_others(self) -> None:
        """Remove the shards of other interrupted runs with the same output; safe in all ranks at once."""
        discard_shards(self.folder, but=self.digest)

    def remaining(self, records: StoredRecords) -> StoredRecords:
        """The images that are not in a shard yet, in their order.

        Raises:
            bpr.formats.errors.FormatError: If the shards are of another run.
        """
        return records.without({line.image.image_id for line in read_shards(self.folder, self.digest)})

    def finish(
        self,
        entries: Sequence[Entry],
        images: int,
        write: Callable[[Path, Iterable[Entry]], object],
        keep: bool = False,
    ) -> tuple[list[tuple[Entry, Entry]], RefinementSummary]:
        """Merge the shards in the order of the input, write the results file, remove the shards.

        Args:
            entries: Of the coarse results file; read once.
            images: How many images have predictions.
            write: Writes the entries to the output.
            keep: Whether to return the entries.

        Returns:
            Coarse and refined entries, in order, if they are to be kept; and what the run did.

        Raises:
            bpr.formats.errors.FormatError: If an image has not been refined.
        """
        merged, summary = merge_shards(self.folder, self.digest, entries, images)
        kept: list[tuple[Entry, Entry]] = []

        def refined() -> Iterator[Entry]:
            for pair in merged:
                if keep:
                    kept.append(pair)
                yield pair[1]

        write(self.output, refined())
        discard_shards(self.folder)
        if self._lock.is_locked:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
        return kept, summary


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose input is read and whose output is locked.

    Attributes:
        settings: What is asked for.
        given: What is refined.
        shards: What is done already.
        left: The images that are not.
        checkpoint: The weights.
        backend: How the network runs.
        start: When it was opened, of `time.perf_counter`.
    """

    settings: RefineSettings
    given: RefinementInput
    shards: RefinementRun
    left: StoredRecords
    checkpoint: Path
    backend: Backend
    start: float

    def finish(self) -> FinishedRun:
        """Write the results; only in the process that `predict` names, once all are done.

        The entries are kept only where scores, report or contact sheet are asked for.
        """
        given, annotations = self.given, self.given.annotations
        shown = self.settings.report or self.settings.contact_sheet
        keep = shown or (annotations is not None and annotations.has_truths)
        kept, summary = self.shards.finish(given.predictions.entries, len(given.records), given.predictions.write, keep)
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
    given = read_input(*paths, settings.format, settings.exif, settings.ignore_label)
    inputs = given.inputs(checkpoint)
    output = choose_output(settings.output, given, settings.folder, settings.overwrite, inputs)
    check_companions(output, inputs, settings.overwrite, settings.report, settings.contact_sheet)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    trainer = make_trainer()
    if trainer.world_size == 1 and getattr(rank_zero_only, "rank", None):
        raise SettingError(
            "several processes were started, but the trainer has one; set trainer.devices to their number"
        )
    backend = settings.backend or choose_backend(trainer.strategy.root_device, len(given.predictions.entries))
    shards = RefinementRun(output, what_counts(settings, given, checkpoint, backend, str(trainer.precision)))
    if trainer.is_global_zero:
        shards.claim()
    if settings.overwrite:
        shards.discard_others()
    return OpenRun(settings, given, shards, shards.remaining(given.records), checkpoint, backend, start)


def predict(run: OpenRun, make_trainer: MakeTrainer) -> bool:
    """Refine the images that are left into shards, on all devices.

    Returns:
        Whether this process is the one that finishes the run; it has waited for the others.
    """
    settings, shards = run.settings, run.shards
    writer = RefinementWriter(shards.folder, shards.digest)
    trainer = capped_trainer(partial(make_trainer, callbacks=[writer], use_distributed_sampler=False), len(run.left))
    if not run.left and not is_spread(trainer):
        return True
    if settings.threads:
        torch.set_num_threads(settings.threads)
    method = Method(settings.patch, settings.rounds, threshold=settings.threshold)
    inference = Inference(method, settings.patches_per_forward, run.backend, settings.cache / "onnx")
    refiner = load_refiner(run.checkpoint, settings.input_size, inference, settings.trust)
    method = refiner.inference.method  # with the input size of the network
    workers = settings.num_workers
    if workers is None:
        workers = workers_ahead_of(trainer.strategy.root_device)
    datamodule = RefinementDataModule(run.left, method, settings.images_per_batch, workers)
    trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
    trainer.strategy.barrier()
    return bool(trainer.is_global_zero)
