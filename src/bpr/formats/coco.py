"""COCO results, as one JSON list or as JSON Lines (one prediction per line), plain or gzipped.

They are checked entry by entry as a stream, and written back with every field of the input, in its order. Ids may be
numbers or text; ``category_id`` and ``score`` may be missing.
"""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from bpr import rle as rle_codec
from bpr.cli.command import counted
from bpr.formats.entries import Entry, StoredEntries
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.files import UnpackedCopy, is_gzip, open_unpacked, reading, write_bytes
from bpr.formats.json_arrays import array_spans
from bpr.formats.json_fields import get_id, get_score, json_error, read_json
from bpr.formats.prediction_format import Content, PredictionFormat, Reading
from bpr.structures import Rle

_Checked: TypeAlias = Iterator[tuple[int, int, Any]]
_Check: TypeAlias = Callable[[Path, IO[bytes], Faults, Counter[str]], _Checked]
_LONGEST_LINE: Final = 1 << 24


def open_results(path: str | Path, faults: Faults | None = None) -> Sequence[Entry]:
    """Check a COCO results file as a stream: a list of ``image_id``, ``segmentation``, ``category_id``, ``score``.

    The last two may be missing. The entries stay in the file and come as they are (all fields, the masks still
    encoded). A gzipped file is unpacked to a temporary one for the time of its use. Bad entries that ``faults`` keeps
    are among them.

    Raises:
        FormatError: If the file is missing, no JSON, or an entry is wrong; names file, entry and remedy. When all
            entries are first read, but for a file that cannot be opened.
    """
    return _open(_check_array, Path(path), Reading(faults=faults or Faults())).entries


def read_results(path: str | Path) -> list[Entry]:
    """All entries of a COCO results file in memory; else as `open_results`."""
    return list(open_results(path))


def is_json_lines(path: Path) -> bool:
    """Whether a file, gzipped or not, starts with a line that is a prediction; by its name if that says nothing."""
    with reading(path), open_unpacked(path) as file:
        line = file.readline(_LONGEST_LINE)
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return ".jsonl" in path.suffixes
    return isinstance(first, dict) and ("image_id" in first or ".jsonl" in path.suffixes)


def new_entry(image_id: int | str, category: int, rle: Rle, score: float) -> Entry:
    """A results entry with all fields that COCO names."""
    entry: Entry = {"image_id": image_id, "category_id": category, "segmentation": rle}
    return {**entry, "score": score, "bbox": xywh(rle)}


def xywh(rle: Rle) -> list[float]:
    """The tight box of a mask as COCO's ``bbox``: ``x, y, width, height``, px."""
    x1, y1, x2, y2 = rle_codec.bounding_box(rle)
    return [float(v) for v in (x1, y1, x2 - x1, y2 - y1)]


def refined_entry(entry: Mapping[str, Any], rle: Rle) -> Entry:
    """A copy of a results entry with another mask; where present, ``bbox`` (xywh, px) and ``area`` follow it.

    An RLE stays what it was, compressed or not; polygons become a compressed one.
    """
    refined = {**entry, "segmentation": rle_codec.in_form_of(entry["segmentation"], rle)}
    if "bbox" in entry:
        refined["bbox"] = xywh(rle)
    if "area" in entry:
        area = rle_codec.area(rle)
        refined["area"] = area if isinstance(entry["area"], Integral) else float(area)
    return refined


def write_results(path: str | Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a COCO results file, entry by entry; gzipped if its name ends in ``.gz``.

    If it cannot be written, an older one is still whole.
    """
    write_bytes(Path(path), (text.encode() for text in _list_of(entries)))


def write_json_lines(path: str | Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines; else as `write_results`."""
    write_bytes(Path(path), (json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries))


def _open(check: _Check, path: Path, how: Reading) -> Content:
    """The entries, and remarks on them, which are complete when all have been read."""
    notes: list[str] = []

    def scan(file: IO[bytes]) -> _Checked:
        missing = Counter[str]()
        with reading(path):
            yield from check(path, file, how.faults, missing)
        notes[:] = notes_on_missing(missing)

    with reading(path):
        copy = UnpackedCopy(path) if is_gzip(path) else None
    return Content(StoredEntries(path if copy is None else copy.path, scan, copy), notes)


def _check_array(path: Path, file: IO[bytes], faults: Faults, missing: Counter[str]) -> _Checked:
    try:
        for number, (start, length, entry) in enumerate(array_spans(file)):
            faults.attempt(partial(_check_entry, path, f"entry {number}", entry, missing), Reason.field, number)
            yield start, length, entry
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_error(path, error) from error
    except TypeError as error:
        hint = (
            " (this looks like an annotation file: format=coco_annotations)"
            if isinstance(read_json(path), dict)
            else ""
        )
        raise FormatError(path, None, f"expected a COCO results file, a list of predictions{hint}") from error


def _check_lines(path: Path, file: IO[bytes], faults: Faults, missing: Counter[str]) -> _Checked:
    position = start = 0
    for number, whole_line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), start=1):
        if len(whole_line) > _LONGEST_LINE:
            raise FormatError(path, f"line {number}", f"has more than {_LONGEST_LINE} bytes; is it one JSON list?")
        line = whole_line.removeprefix(BOM_UTF8) if number == 1 else whole_line
        start += len(whole_line) - len(line)
        if line.strip():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FormatError(path, f"line {number}", f"is not JSON ({error}); was it cut off?") from error
            faults.attempt(partial(_check_entry, path, f"line {number}", entry, missing), Reason.field, position)
            yield start, len(line), entry
            position += 1
        start += len(line)


def _check_entry(path: Path, where: str, entry: object, missing: Counter[str]) -> None:
    get_id(path, where, entry, "image_id")
    assert isinstance(entry, dict)
    if entry.get("category_id") is None:
        missing["category_id"] += 1
    else:
        get_id(path, where, entry, "category_id", (int,))
    if entry.get("score") is None:
        missing["score"] += 1
    else:
        get_score(path, where, entry)
    if "segmentation" not in entry:
        problem = "'segmentation' is missing: box results cannot be refined"
        raise FormatError(path, where, problem, Reason.no_mask)


def _list_of(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    before = "["
    for entry in entries:
        yield before + json.dumps(entry, separators=(",", ":"))
        before = ",\n"
    yield "[]\n" if before == "[" else "]\n"


def notes_on_missing(missing: Counter[str]) -> tuple[str, ...]:
    """What `bpr.formats.predictions.Predictions.instance` assumes."""
    assumed = {"category_id": "taken as one class", "score": "taken as 1"}
    return tuple(
        f"{counted(missing[name], 'prediction has', 'predictions have')} no {name}: {what}"
        for name, what in assumed.items()
        if missing[name]
    )


def _write_results(path: Path, entries: Iterable[Mapping[str, Any]], _source: Path) -> None:
    write_results(path, entries)


def _write_lines(path: Path, entries: Iterable[Mapping[str, Any]], _source: Path) -> None:
    write_json_lines(path, entries)


FORMAT: Final = PredictionFormat("coco", ".json", partial(_open, _check_array), _write_results)
JSON_LINES: Final = PredictionFormat("jsonl", ".jsonl", partial(_open, _check_lines), _write_lines)
