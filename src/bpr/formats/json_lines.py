"""COCO results as JSON Lines: one prediction per line, plain or gzipped (``.jsonl``, ``.jsonl.gz``)."""

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

from bpr.formats.coco import check_entry
from bpr.formats.entries import Entry, StoredEntries, UnpackedCopy, is_gzip
from bpr.formats.errors import FormatError
from bpr.formats.files import open_text, replacing

_LONGEST_LINE: Final = 1 << 24


def open_json_lines(path: str | Path) -> StoredEntries:
    """Check all predictions as a stream; they stay in the file. Empty lines are passed over.

    A gzipped file, in which nothing can be found by its place, is unpacked to a temporary file for the time of its use.

    Raises:
        FormatError: If the file cannot be read, or a line is no prediction; names the line and the remedy.
    """
    path = Path(path)
    try:
        copy = UnpackedCopy(path) if is_gzip(path) else None
        readable = path if copy is None else copy.path
        with readable.open("rb") as file:
            return StoredEntries(readable, _checked_spans(path, file), copy)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise _unreadable(path, error) from error


def read_json_lines(path: str | Path) -> list[Entry]:
    """All predictions in memory; else as `open_json_lines`."""
    return list(open_json_lines(path))


def write_json_lines(path: str | Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write one entry per line, gzipped if the name ends in ``.gz``, under another name, and rename it.

    Raises:
        OSError: If the file cannot be written; an older file of that name is then still whole.
    """
    path = Path(path)
    with replacing(path) as unfinished, open_text(unfinished, path.suffix == ".gz") as file:
        for entry in entries:
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def is_json_lines(path: Path) -> bool:
    """Whether a file, gzipped or not, starts with a line that is a prediction; by its name if that says nothing.

    Raises:
        FormatError: If it is gzipped and cannot be unpacked.
    """
    try:
        with cast(IO[bytes], gzip.open(path)) if is_gzip(path) else path.open("rb") as file:
            first = json.loads(file.readline(_LONGEST_LINE))
    except (ValueError, RecursionError):
        return ".jsonl" in path.suffixes
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    return isinstance(first, dict) and "image_id" in first


def _unreadable(path: Path, error: Exception) -> FormatError:
    return FormatError(path, None, f"cannot be read ({error}); is it whole, and gzipped if it ends in .gz?")


def _checked_spans(path: Path, file: IO[bytes]) -> Iterator[tuple[int, int]]:
    start = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
    file.seek(start)
    for number, line in enumerate(file, start=1):
        if line.strip():
            _check(path, f"line {number}", line)
            yield start, len(line)
        start += len(line)


def _check(path: Path, where: str, line: bytes) -> None:
    try:
        entry = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(path, where, f"is not JSON ({error}); was it cut off?") from error
    check_entry(path, where, entry)
