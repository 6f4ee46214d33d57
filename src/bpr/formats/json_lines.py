"""COCO results as JSON Lines: one prediction per line, plain or gzipped (``.jsonl``, ``.jsonl.gz``)."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

from bpr.formats.coco import Entry, check_entry
from bpr.formats.errors import FormatError
from bpr.formats.files import replacing

_LONGEST_LINE: Final = 1 << 24


def read_json_lines(path: str | Path) -> list[Entry]:
    """Read and check all predictions; empty lines are passed over.

    Raises:
        FormatError: If the file cannot be read, or a line is no prediction; names the line and the remedy.
    """
    path = Path(path)
    entries: list[Entry] = []
    try:
        with _open(path, "rt", _is_gzip(path)) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    entries.append(_parse(path, number, line))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FormatError(
            path, None, f"cannot be read ({error}); is it whole, and gzipped if it ends in .gz?"
        ) from error
    return entries


def write_json_lines(path: str | Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write one entry per line, gzipped if the name ends in ``.gz``, under another name, and rename it.

    Raises:
        OSError: If the file cannot be written; an older file of that name is then still whole.
    """
    path = Path(path)
    with replacing(path) as unfinished, _open(unfinished, "wt", path.suffix == ".gz") as file:
        for entry in entries:
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def is_json_lines(path: Path) -> bool:
    """Whether a file is gzipped, or starts with a line that is a prediction of its own; by its name if it is empty."""
    if _is_gzip(path):
        return True
    with path.open("rb") as file:
        try:
            first = json.loads(file.readline(_LONGEST_LINE))
        except ValueError:
            return path.suffix == ".jsonl"
    return isinstance(first, dict) and "image_id" in first


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _open(path: Path, mode: str, gzipped: bool) -> IO[str]:
    return cast(IO[str], gzip.open(path, mode, encoding="utf-8") if gzipped else path.open(mode, encoding="utf-8"))


def _parse(path: Path, number: int, line: str) -> Entry:
    where = f"line {number}"
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(path, where, f"is not JSON ({error}); was it cut off?") from error
    return check_entry(path, where, entry)
