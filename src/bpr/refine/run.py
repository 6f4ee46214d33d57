"""One refinement run: which images are left, and when all are done, the merged results file."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bpr.data.records import StoredRecords
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions
from bpr.refine.results import RefinementSummary, merge_shards
from bpr.refine.shards import discard_shards, read_shards
from bpr.structures import ImageRecord


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What went in and what came out, for those who judge or show it.

    Attributes:
        records: Images with their coarse masks.
        coarse: The predictions.
        refined: The refined ones, in the same order.
        annotations: Ground truth, or names only, where given.
        summary: What was done and what was skipped.
        elapsed: Wall-clock seconds.
    """

    records: Sequence[ImageRecord]
    coarse: Predictions
    refined: Predictions
    annotations: Annotations | None
    summary: RefinementSummary
    elapsed: float


class RefinementRun:
    """Keeps the shards of a run in ``OUTPUT.parts`` until its results file is written.

    Repeating an interrupted run with the same predictions, weights and settings does the images that are left;
    with others it is refused, so that no file can mix two runs.

    Args:
        output: Results file to write.
        files: Files and folders that determine the masks (predictions, weights); their content counts.
        settings: Everything else that does, as primitives.
    """

    def __init__(self, output: Path, files: Sequence[Path], settings: Mapping[str, Any]) -> None:
        self.output = output
        self.folder = output.with_name(output.name + ".parts")
        self.digest = _digest(files, settings)
        self._lock = FileLock(f"{self.folder}.lock")

    def claim(self) -> None:
        """Keep other runs away from this output until this process ends or the run is finished.

        Raises:
            bpr.formats.errors.FormatError: If another run is writing to it.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            problem = "another refine.py is writing to it; wait for it, or give another `output`"
            raise FormatError(self.output, None, problem) from error

    def discard(self) -> None:
        """Throw away what an interrupted run left, perhaps another one with the same output."""
        discard_shards(self.folder)

    def remaining(self, records: StoredRecords) -> StoredRecords:
        """The images that are not in a shard yet, in their order.

        Raises:
            bpr.formats.errors.FormatError: If the shards are of another run.
        """
        return records.without({line.image.image_id for line in read_shards(self.folder, self.digest)})

    def finish(
        self, entries: Sequence[Entry], images: int, write: Callable[[Path, Sequence[Entry]], Predictions]
    ) -> tuple[Predictions, RefinementSummary]:
        """Merge the shards in the order of the input, write the results file, remove the shards.

        Args:
            entries: Of the coarse results file.
            images: How many images have predictions.
            write: Writes the entries to the output, and returns them as they can be had when the shards are gone.

        Returns:
            What was written, and what the run did.

        Raises:
            bpr.formats.errors.FormatError: If an image has not been refined.
        """
        merged, summary = merge_shards(self.folder, self.digest, entries, images)
        written = write(self.output, merged)
        discard_shards(self.folder)
        if self._lock.is_locked:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
        return written, summary


def format_summary(summary: RefinementSummary, elapsed: float) -> str:
    """Lines for people: what was refined, what was not and why, and where the time went.

    Args:
        summary: Of the run.
        elapsed: Wall-clock seconds.
    """
    lines = [
        f"{summary.images} images, {summary.instances} instances: {summary.refined} refined in {summary.patches} "
        f"patches ({summary.changed} masks changed), {sum(summary.skipped.values())} left as they are"
    ]
    lines += [f"  left: {count} x {reason}" for reason, count in sorted(summary.skipped.items())]
    stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in summary.seconds.items())
    lines.append(f"{elapsed:.1f} s; seconds by stage, summed over processes: {stages or 'none'}")
    return "\n".join(lines)


def _digest(files: Sequence[Path], settings: Mapping[str, Any]) -> str:
    state = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for given in files:
        for path in sorted(given.rglob("*")) if given.is_dir() else [given]:
            if path.is_file():
                state.update(path.relative_to(given).as_posix().encode())
                with path.open("rb") as file:
                    state.update(hashlib.file_digest(file, "blake2b").digest())
    return state.hexdigest()
