"""Shards: what each process has refined so far, one line per image, so that nothing is lost when it ends early.

A run keeps its shards in one folder beside its output. The first line of a shard names the run by a digest of
everything that determines its masks; every other line is one image. A line that was cut off while it was
written is ignored, and its image refined again.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from bpr.formats.errors import FormatError
from bpr.formats.faults import Fault
from bpr.formats.files import room_for
from bpr.structures import Rle

LAYOUT: Final = "bpr-shard-6"
_NAME: Final = re.compile(r"rank\d+-\d+\.jsonl")


@dataclass(frozen=True, slots=True)
class RefinedImage:
    """One line of a shard.

    Attributes:
        image_id: Id in the results file.
        masks: Refined mask by position in the results file.
        changed: How many of them differ from their coarse mask.
        patches: Patches that went through the network.
        skipped: Instances left as they are, by reason.
        fault: Why all of them are left as they came; None if the image could be used.
        state: Of the file of the image, as of `bpr.refine.digest.image_state`.
    """

    image_id: int | str
    masks: dict[int, Rle]
    changed: int
    patches: int
    skipped: dict[str, int] = field(default_factory=dict)
    fault: Fault | None = None
    state: list[int] | None = None


class ShardWriter:
    """Appends refined images to a new shard of the process ``rank``; ``digest`` is that of `bpr.refine.digest`.

    `bpr.formats.files.FullDiskError` if there is no room, also when it is closed.
    """

    def __init__(self, folder: Path, digest: str, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [number for of, number in map(_shard_order, _shards(folder)) if of == rank]
        self._path = folder / f"rank{rank}-{max(taken, default=-1) + 1}.jsonl"
        with room_for(self._path):
            self._file = self._path.open("x", buffering=1, encoding="utf-8")
            try:
                self._file.write(json.dumps(_header(digest)) + "\n")
            except OSError:
                with suppress(OSError):  # what is not written is tried again, and fails again
                    self._file.close()
                raise

    def write(self, image: RefinedImage) -> None:
        """Append one image, and hand it to the operating system before returning, as the file is line-buffered."""
        with room_for(self._path):
            self._file.write(json.dumps(asdict(image), separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        with room_for(self._path):
            self._file.close()


class ShardLine(NamedTuple):
    """Where an image is: its shard, and the offset and length of its line, bytes; and the image itself."""

    path: Path
    start: int
    length: int
    image: RefinedImage


def read_shards(folder: Path, digest: str) -> Iterator[ShardLine]:
    """All images in the shards of a run, each once; nothing if the folder does not exist.

    A shard of another run that has no image yet is passed over: nothing can be lost or mixed.

    Raises:
        FormatError: If a shard with images is of another run, or one is damaged other than at its end.
    """
    seen = set()
    for path in _shards(folder):
        header: Mapping[str, Any] = {}
        start = 0
        for number, line in enumerate(_whole_lines(path)):
            content = _parse(path, number, line)
            if number == 0:
                header = content
            else:
                _check_header(path, header, digest)
                image = _check_image(path, number, content)
                if image.image_id not in seen:
                    seen.add(image.image_id)
                    yield ShardLine(path, start, len(line), image)
            start += len(line)


def count_images(folder: Path) -> int:
    """How many images are in the shards of a folder, without a look at them."""
    return sum(max(sum(1 for _ in _whole_lines(path)) - 1, 0) for path in _shards(folder))  # the first is the header


def parse_image(content: Mapping[str, Any]) -> RefinedImage:
    """The image of a line of a shard."""
    masks = {int(position): rle for position, rle in content["masks"].items()}
    fault = None if content["fault"] is None else Fault(**content["fault"])
    return RefinedImage(**{**content, "masks": masks, "fault": fault})


def discard_shards(folder: Path, but: str | None = None) -> None:
    """Remove the shards in a folder, except those of the run of digest ``but``."""
    for path in _shards(folder):
        if but is None or not _is_of(path, but):
            path.unlink(missing_ok=True)
    for path in folder.glob("rank*.*") if but is None else ():  # of `bpr.models.watch`, in processes that were killed
        if path.suffix in (".alive", ".done"):
            path.unlink(missing_ok=True)


def parts_folder(output: Path) -> Path:
    """Where the shards of the run with an output are: beside it."""
    return output.with_name(output.name + ".parts")


def lock_file(folder: Path) -> Path:
    """The lock of the run whose shards are in a folder."""
    return folder.with_name(folder.name + ".lock")


def begin_output(folder: Path) -> None:
    """Note beside the shards that from here on the output is written, so that a part of it may be there."""
    folder.mkdir(parents=True, exist_ok=True)
    _begun(folder).touch()


def end_output(folder: Path) -> None:
    """Undo `begin_output`, and remove the folder if it is empty then."""
    _begun(folder).unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty, or not there
        folder.rmdir()


def has_begun_output(folder: Path) -> bool:
    """Whether a run was interrupted after `begin_output`: what is at its output is its own.

    The empty folder of a run that was killed when all else was done is removed.
    """
    if not lock_file(folder).exists():
        with suppress(OSError):  # it is not empty, or not there
            folder.rmdir()
    return _begun(folder).is_file()


def _begun(folder: Path) -> Path:
    return folder / "output-begun"


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a shard but for a last one that was cut off while it was written."""
    with path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def _shards(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("rank*-*.jsonl") if _NAME.fullmatch(path.name)), key=_shard_order)


def _shard_order(path: Path) -> tuple[int, ...]:
    """Rank and number of a shard."""
    return tuple(int(number) for number in re.findall(r"\d+", path.name))


def _is_of(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return _parse(path, 0, file.readline()) == _header(digest)
    except (FormatError, OSError):  # damaged, or another process has just removed it
        return False


def _header(digest: str) -> dict[str, str]:
    return {"layout": LAYOUT, "run": digest}


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise FormatError(path, f"line {number + 1}", f"is damaged ({error}); remove this file") from error
    if not isinstance(content, dict):
        raise FormatError(path, f"line {number + 1}", "is not a shard of bpr; remove this file")
    return content


def _check_image(path: Path, number: int, content: Mapping[str, Any]) -> RefinedImage:
    try:
        return parse_image(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(path, f"line {number + 1}", "is not an image of a shard; remove this file") from error


def _check_header(path: Path, header: Mapping[str, Any], digest: str) -> None:
    if header == _header(digest):
        return
    theirs, ours = (dict(part.partition("=")[::2] for part in str(r).split()) for r in (header.get("run"), digest))
    names = [name for name in ours if theirs.get(name) != ours[name]] or ["version of bpr"]
    raise other_run(path, names)


def other_run(path: Path, names: Iterable[str]) -> FormatError:
    """The error that a shard is of a run that differs in ``names``."""
    problem = f"is left of an interrupted run with other settings or files ({', '.join(names)})"
    return FormatError(path, None, f"{problem}; repeat those to finish it, or throw it away with overwrite=true")
