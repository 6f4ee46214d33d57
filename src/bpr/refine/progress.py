"""What a refinement has done so far: its shards beside the output, which is locked, until the results are written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bpr.data.image_records import StoredRecords
from bpr.data.inputs import RefinementInput
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.refine.digest import digest, image_state
from bpr.refine.merging import merge_shards
from bpr.refine.shards import (
    begin_output,
    discard_shards,
    end_output,
    lock_file,
    other_run,
    parts_folder,
    read_shards,
)
from bpr.refine.summary import RefinementSummary


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
        self._unlock()
        end_output(self.folder)

    @contextmanager
    def unlocked_at_errors(self) -> Iterator[None]:
        """Take the lock off if the block ends in an error."""
        try:
            yield
        except BaseException:
            self._unlock()
            raise

    def _unlock(self) -> None:
        if self._lock.is_locked:
            self._lock.release()
            lock_file(self.folder).unlink(missing_ok=True)
