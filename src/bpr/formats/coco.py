"""COCO annotation files and COCO result files.

Both are validated entry by entry; masks are kept as compressed RLE. Results are read as a stream and written back
with every field of the input, in its order.
"""

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bpr import rle as rle_codec
from bpr.formats.entries import Entry, StoredEntries, UnpackedCopy, array_spans, is_gzip
from bpr.formats.errors import FormatError
from bpr.formats.files import open_text, replacing
from bpr.structures import ClassCoverage, Rle, Size, TrueInstance


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image of an annotation file.

    Attributes:
        file_name: As in the file.
        size: (h, w), px.
        truths: Annotated objects, in the order of the file.
        coverage: Of LVIS, which classes were checked; None where all objects are annotated.
    """

    file_name: str
    size: Size
    truths: tuple[TrueInstance, ...]
    coverage: ClassCoverage | None = None


@dataclass(frozen=True, slots=True)
class Annotations:
    """A COCO annotation file.

    Attributes:
        path: Where it was read.
        images: By image id, in the order of the file.
        categories: Names by category id.
    """

    path: Path
    images: dict[int | str, AnnotatedImage]
    categories: dict[int, str]

    @property
    def has_truths(self) -> bool:
        """Whether any object is annotated (files that only list images, as for a test set, have none)."""
        return any(image.truths for image in self.images.values())


def read_annotations(path: str | Path) -> Annotations:
    """Read a COCO annotation file (``images``, ``annotations``, ``categories``).

    Polygons and uncompressed RLE become compressed RLE. ``annotations`` and ``categories`` may be missing. LVIS files,
    whose images have a ``coco_url`` instead of a ``file_name``, are read too.

    Raises:
        FormatError: If the file is missing, no JSON, or an entry is wrong; names file, entry and remedy.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise FormatError(path, None, "expected a COCO annotation file: an object with a list 'images'")
    sizes: dict[int | str, tuple[str, Size]] = {}
    coverage: dict[int | str, ClassCoverage | None] = {}
    for number, image in enumerate(content["images"]):
        where = f"images[{number}]"
        image_id = _field(path, where, image, "id", (int, str))
        size = (_count(path, where, image, "height"), _count(path, where, image, "width"))
        if image_id in sizes:
            raise FormatError(path, where, f"image id {image_id!r} occurs twice")
        sizes[image_id] = (_file_name(path, where, image), size)
        coverage[image_id] = _coverage(path, where, image)
    for name in ("annotations", "categories"):
        if not isinstance(content.get(name, []), list):
            raise FormatError(path, name, f"must be a list, got {type(content[name]).__name__}")
    truths: dict[int | str, list[TrueInstance]] = {image_id: [] for image_id in sizes}
    for number, annotation in enumerate(content.get("annotations", [])):
        where = f"annotations[{number}]"
        image_id = _field(path, where, annotation, "image_id", (int, str))
        if image_id not in sizes:
            raise FormatError(path, where, f"image_id {image_id!r} is not among the images of this file")
        rle = _rle(path, where, annotation, sizes[image_id][1])
        category = _field(path, where, annotation, "category_id", (int,))
        crowd, area = bool(annotation.get("iscrowd", 0)), _area(path, where, annotation)
        truths[image_id].append(TrueInstance(rle, category, crowd, area))
    categories = {
        _field(path, f"categories[{number}]", category, "id", (int,)): str(category.get("name", category["id"]))
        for number, category in enumerate(content.get("categories", []))
    }
    images = {i: AnnotatedImage(name, size, tuple(truths[i]), coverage[i]) for i, (name, size) in sizes.items()}
    return Annotations(path, images, categories)


def open_results(path: str | Path) -> StoredEntries:
    """Check a COCO results file as a stream: a list of ``image_id``, ``category_id``, ``segmentation``, ``score``.

    The entries stay in the file and come as they are (all fields, the masks still encoded); `result_rle` gives the
    mask.

    Raises:
        FormatError: If the file is missing, no JSON, or an entry is wrong; names file, entry and remedy.
    """
    path = Path(path)
    try:
        copy = UnpackedCopy(path) if is_gzip(path) else None
        readable = path if copy is None else copy.path
        with readable.open("rb") as file:
            return StoredEntries(readable, _checked_spans(path, file), copy)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(path, None, f"cannot be read ({error}); check the path, and whether it is whole") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(path, error) from error
    except TypeError as error:
        hint = " (this looks like an annotation file)" if isinstance(read_json(path), dict) else ""
        raise FormatError(path, None, f"expected a COCO results file, a list of predictions{hint}") from error


def read_results(path: str | Path) -> list[Entry]:
    """All entries of a COCO results file in memory; else as `open_results`."""
    return list(open_results(path))


def check_entry(path: Path, where: str, entry: object) -> Entry:
    """One entry of a results file, as it is, if it has the fields that refinement needs.

    Raises:
        FormatError: If a field is missing or of the wrong type.
    """
    _field(path, where, entry, "image_id", (int, str))
    _field(path, where, entry, "category_id", (int,))
    score = _field(path, where, entry, "score", (int, float))
    if isinstance(score, float) and not math.isfinite(score):
        raise FormatError(path, where, f"score must be a finite number, got {score}")
    assert isinstance(entry, dict)
    if "segmentation" not in entry:
        raise FormatError(path, where, "'segmentation' is missing: box results cannot be refined")
    return entry


def result_rle(path: Path, number: int, entry: Mapping[str, Any], size: Size) -> Rle:
    """The mask of entry ``number`` of the results file ``path``, for an image of ``size`` (h, w).

    Raises:
        FormatError: If it is no valid mask of that size.
    """
    return _rle(path, f"entry {number}", entry, size)


def new_entry(image_id: int | str, category: int, rle: Rle, score: float) -> Entry:
    """A results entry with all fields that COCO names; ``bbox`` is xywh, px."""
    return {
        "image_id": image_id,
        "category_id": category,
        "segmentation": rle,
        "score": score,
        "bbox": _bbox(rle),
    }


def refined_entry(entry: Mapping[str, Any], rle: Rle) -> Entry:
    """A copy of a results entry with another mask; where present, ``bbox`` (xywh, px) and ``area`` follow it."""
    refined = {**entry, "segmentation": rle}
    if "bbox" in entry:
        refined["bbox"] = _bbox(rle)
    if "area" in entry:
        refined["area"] = float(rle_codec.area(rle))
    return refined


def write_results(path: str | Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a COCO results file, entry by entry, under another name, then rename it; gzipped if it ends in ``.gz``.

    Raises:
        OSError: If the file cannot be written; an older file of that name is then still whole.
    """
    with replacing(Path(path)) as unfinished, open_text(unfinished, Path(path).suffix == ".gz") as file:
        separator = "["
        for entry in entries:
            file.write(separator)
            json.dump(entry, file, separators=(",", ":"))
            separator = ",\n"
        file.write("]\n" if separator != "[" else "[]\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        FormatError: If it is missing or no JSON.
    """
    try:
        with path.open("rb") as file:
            return json.load(file)
    except OSError as error:
        raise FormatError(path, None, f"cannot be read ({error.strerror}); check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(path, error) from error


def _no_json(path: Path, error: Exception) -> FormatError:
    return FormatError(path, None, f"is not JSON ({error}); was it cut off or is it compressed?")


def _checked_spans(path: Path, file: IO[bytes]) -> Iterator[tuple[int, int]]:
    for number, (start, length, entry) in enumerate(array_spans(file)):
        check_entry(path, f"entry {number}", entry)
        yield start, length


def _bbox(rle: Rle) -> list[float]:
    x1, y1, x2, y2 = rle_codec.bounding_box(rle)
    return [float(v) for v in (x1, y1, x2 - x1, y2 - y1)]


def _file_name(path: Path, where: str, image: dict[str, Any]) -> str:
    """``file_name``, or for LVIS the last two parts of ``coco_url`` (``val2017/000000397133.jpg``)."""
    if "file_name" not in image and isinstance(image.get("coco_url"), str):
        return "/".join(image["coco_url"].split("/")[-2:])
    name: str = _field(path, where, image, "file_name", (str,))
    return name


def _coverage(path: Path, where: str, image: Mapping[str, Any]) -> ClassCoverage | None:
    names = ("neg_category_ids", "not_exhaustive_category_ids")
    if not any(name in image for name in names):
        return None
    lists = [image.get(name, []) for name in names]
    for name, classes in zip(names, lists, strict=True):
        if not isinstance(classes, list) or not all(isinstance(c, int) for c in classes):
            raise FormatError(path, where, f"'{name}' must be a list of category ids, got {classes!r:.60}")
    return ClassCoverage(*map(frozenset, lists))


def _field(path: Path, where: str, entry: object, name: str, kinds: tuple[type, ...]) -> Any:
    if not isinstance(entry, dict):
        raise FormatError(path, where, f"expected an object, got {type(entry).__name__}")
    if name not in entry:
        raise FormatError(path, where, f"'{name}' is missing; it has {sorted(map(str, entry))}")
    value = entry[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise FormatError(path, where, f"'{name}' must be {expected}, got {value!r:.60}")
    return value


def _count(path: Path, where: str, entry: object, name: str) -> int:
    value: int = _field(path, where, entry, name, (int,))
    if value < 1:
        raise FormatError(path, where, f"'{name}' must be at least 1 px, got {value}")
    return value


def _area(path: Path, where: str, annotation: Mapping[str, Any]) -> float | None:
    area = annotation.get("area")
    if area is None:
        return None
    if isinstance(area, bool) or not isinstance(area, int | float) or not 0 <= area < math.inf:
        problem = f"'area' must be a number of px^2 >= 0, got {area!r:.60}; leave it out to count mask pixels"
        raise FormatError(path, where, problem)
    return float(area)


def _rle(path: Path, where: str, entry: Mapping[str, Any], size: Size) -> Rle:
    if "segmentation" not in entry:
        raise FormatError(path, where, "'segmentation' is missing")
    try:
        return rle_codec.from_segmentation(entry["segmentation"], size)
    except (ValueError, TypeError, UnicodeError) as error:
        raise FormatError(path, where, f"segmentation: {error}") from error
