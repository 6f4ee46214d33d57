"""Read JSON files and check the types of their fields."""

import json
import math
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.files import copy_file, of_kind, open_unpacked, reading, visible_files
from bpr.structures import Rle

_LARGEST: Final = 2**63 - 1
_UTF16_STARTS: Final = (b"{\0", b"[\0", b"\0{", b"\0[")


def read_json(path: Path) -> Any:
    """The content of a JSON file, gzipped or not; `FormatError` if it is missing, no JSON, or names a member twice."""

    def unambiguous(members: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(members)
        if len(content) < len(members):  # Python takes the last, others the first
            name = next(name for name, count in Counter(name for name, _ in members).items() if count > 1)
            raise FormatError(path, None, f"has an object in which {name!r:.60} occurs twice; keep one of them")
        return content

    try:
        with reading(path), open_unpacked(path) as file:
            return json.load(file, object_pairs_hook=unambiguous)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise json_error(path, error) from error


def holds_object(path: Path) -> bool:
    """Whether a UTF-8 file, gzipped or not, starts as a JSON object does; `FormatError` if it cannot be read."""
    return _start(path, 64).startswith(b"{")


def may_be_json(path: Path) -> bool:
    """Whether a UTF-8 file, gzipped or not, is empty or starts as a JSON array or object does."""
    start = _start(path, 4096)
    return not start or start.startswith((b"[", b"{"))


def _start(path: Path, length: int) -> bytes:
    """What comes first in a file but for a byte order mark and blanks."""
    with reading(path), open_unpacked(path) as file:
        return file.read(length).removeprefix(BOM_UTF8).lstrip()


def chosen_files(path: Path, is_chosen: Callable[[Path], bool], faults: Faults) -> dict[str, Path]:
    """Of the JSON files of ``path``, a folder or one file, those chosen, by name; others that are no JSON are bad."""
    chosen = {}
    for name, file in _json_files(path).items():
        if is_chosen(file):
            chosen[name] = file
        else:
            faults.attempt(partial(_refuse_other_text, file), Reason.mask)
    return chosen


def files_to_write(
    path: Path, source: Path, masks: Mapping[str, Mapping[int, Rle]]
) -> Iterator[tuple[Path, Path, Mapping[int, Rle]]]:
    """Of the JSON files of ``source``, a folder or one file, those with ``masks``, by name; the others are copied.

    Yields:
        A file, what it becomes in or as ``path``, and its masks by their numbers.
    """
    for name, file in _json_files(source).items():
        target = path / name if source.is_dir() else path
        if name in masks:
            yield file, target, masks[name]
        else:
            copy_file(file, target)


def _json_files(path: Path) -> dict[str, Path]:
    """The visible ones in a folder and below it, by their relative names; a file alone by its own."""
    if not path.is_dir():
        return {path.name: path}
    return {file.relative_to(path).as_posix(): file for file in of_kind(visible_files(path), ".json")}


def _refuse_other_text(file: Path) -> None:
    refuse_utf16(file)
    read_json(file)


def json_error(path: Path, error: Exception) -> FormatError:
    """The error that a file is not JSON."""
    refuse_utf16(path)
    return FormatError(path, None, f"is not JSON ({error}); was it cut off or is it compressed?")


def refuse_utf16(path: Path) -> None:
    """`FormatError` if a file, gzipped or not, starts as JSON in UTF-16 does, with its mark or without."""
    start = _start(path, 64)
    if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or start[:2] in _UTF16_STARTS:
        raise FormatError(path, None, "is text in UTF-16; save it as UTF-8")


def get_field(path: Path, where: str, entry: object, name: str, kinds: tuple[type, ...]) -> Any:
    """A field of an object that is of one of ``kinds``, none of which includes bool; else `FormatError`."""
    if not isinstance(entry, dict):
        raise FormatError(path, where, f"expected an object, got {type(entry).__name__}")
    if name not in entry:
        raise FormatError(path, where, f"'{name}' is missing; it has {sorted(map(str, entry))}")
    value = entry[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise FormatError(path, where, f"'{name}' must be {expected}, got {value!r:.60}")
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise FormatError(path, where, f"'{name}' must be a number of 64 bits, got {value!r:.60}")
    return value


def get_id(path: Path, where: str, entry: object, name: str, kinds: tuple[type, ...] = (int, str)) -> Any:
    """A field such as of `get_field`; a float that is a whole number counts as one."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST:
        return int(value)
    return get_field(path, where, entry, name, kinds)


def get_score(path: Path, where: str, entry: Mapping[str, Any], name: str = "score") -> float:
    """The field ``score``, or that of another ``name``, a finite number; `FormatError` if it is missing or else."""
    value: float = get_field(path, where, entry, name, (int, float))
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(path, where, f"{name} must be a finite number, got {value}")
    return value


def get_list(path: Path, content: Mapping[str, Any], name: str) -> list[Any]:
    """The list in a field that may be missing; `FormatError` if it is anything else."""
    found = content.get(name, [])
    if not isinstance(found, list):
        raise FormatError(path, name, f"must be a list, got {type(found).__name__}")
    return found
