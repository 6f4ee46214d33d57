"""Shards: what each process has refined so far, one line per image, so that nothing is lost when it ends early.

A run keeps its shards in one folder beside its output. The first line of a shard names the run by a digest of
everything that determines its masks; every other line is one image. A line that was cut off while it was
written is ignored, and its image refined again.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from bpr.formats.errors import FormatError
from bpr.structures import Rle

LAYOUT: Final = "bpr-shard-2"


@dataclass(frozen=True, slots=True)
class RefinedImage:
    """One line of a shard.

    Attributes:
        image_id: Id in the results file.
        masks: Refined mask by position in the results file.
        changed: How many of them differ from their coarse mask.
        patches: Patches that went through the network.
        skipped: Instances left as they are, by reason.
        seconds: By stage.
    """

    image_id: int | str
    masks: dict[int, Rle]
    changed: int
    patches: int
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class ShardWriter:
    """Appends refined images to a new shard of one process; use it as a context manager.

    Args:
        folder: Of the run; made if missing.
        run: Digest of the run.
        rank: Of the process.
    """

    def __init__(self, folder: Path, run: str, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = len(list(folder.glob(f"rank{rank}-*.jsonl")))
        self._file = (folder / f"rank{rank}-{earlier}.jsonl").open("x", encoding="utf-8")
        self._file.write(json.dumps({"layout": LAYOUT, "run": run}) + "\n")
        self._file.flush()

    def write(self, image: RefinedImage) -> None:
        """Append one image, and hand it to the operating system before returning."""
        self._file.write(json.dumps(asdict(image), separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ShardLine(NamedTuple):
    """Where an image is: its shard, and the offset and length of its line, bytes; and the image itself."""

    path: Path
    start: int
    length: int
    image: RefinedImage


def read_shards(folder: Path, run: str) -> Iterator[ShardLine]:
    """All images in the shards of a run, each once; nothing if the folder does not exist.

    A shard of another run that has no image yet is passed over: nothing can be lost or mixed.

    Raises:
        FormatError: If a shard with images is of another run, or one is damaged other than at its end.
    """
    seen = set()
    for path in sorted(folder.glob("rank*-*.jsonl"), key=_shard_order):
        header: Mapping[str, Any] = {}
        start = 0
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break  # cut off while it was written
                content = _parse(path, number, line)
                if number == 0:
                    header = content
                else:
                    _check_header(path, header, run)
                    image = parse_image(content)
                    if image.image_id not in seen:
                        seen.add(image.image_id)
                        yield ShardLine(path, start, len(line), image)
                start += len(line)


def parse_image(content: Mapping[str, Any]) -> RefinedImage:
    """The image of a line of a shard."""
    masks = {int(position): rle for position, rle in content["masks"].items()}
    return RefinedImage(**{**content, "masks": masks})


def discard_shards(folder: Path) -> None:
    """Remove the shards of a run."""
    shutil.rmtree(folder, ignore_errors=True)


def _shard_order(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name))


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise FormatError(path, f"line {number + 1}", f"is damaged ({error}); remove this file") from error
    if not isinstance(content, dict):
        raise FormatError(path, f"line {number + 1}", "is not a shard of bpr; remove this file")
    return content


def _check_header(path: Path, header: Mapping[str, Any], run: str) -> None:
    if header.get("layout") != LAYOUT or header.get("run") != run:
        raise FormatError(
            path,
            None,
            "is left of an interrupted run with other predictions, weights or settings; repeat those to finish it, "
            "or throw it away with overwrite=true",
        )
