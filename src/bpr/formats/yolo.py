"""YOLO segmentation labels: a text file for each image, with a row ``CLASS X1 Y1 X2 Y2 ... [CONFIDENCE]`` an object.

Coordinates are relative to the size of the image. Rows whose mask did not change come back byte for byte.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from bpr.cli.command import counted
from bpr.formats.entries import Entry, masks_by_file
from bpr.formats.errors import FormatError, Reason
from bpr.formats.files import reading, visible_files, write_bytes
from bpr.formats.name_matching import ImageNames, as_number, strip_suffix
from bpr.formats.polygons import Losses, with_mask
from bpr.formats.prediction_format import Content, PredictionFormat, Reading
from bpr.formats.yolo_rows import LabelRow

_WRITTEN: Final = frozenset({".txt", ".yaml", ".yml"})
_MOST_BRACKETS: Final = 1000


def are_labels(texts: Iterable[Path]) -> bool:
    """Whether one of the text files of a folder starts with a row of a YOLO label."""
    return any(map(_starts_with_label, texts))


def read_labels(folder: Path, how: Reading) -> Content:
    """Read the polygons of the text files in a folder and below it.

    ``labels/train/a.txt`` is of the image ``train/a`` in ``how.image_sizes``, or of ``images/train/a``. Names of
    classes are taken from ``data.yaml`` in the folder, or in one of the two that it is in.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives: ``image_id`` is the name of the image, ``category_id``
        the class, ``score`` the confidence or 1; ``class_name`` is there if it is known; ``label_file`` and
        ``line_number`` (from 1) are where the entry came from. Boxes are left out, and counted in a note; left out
        are also bad rows, and rows of missing or damaged images, that ``how.faults`` keeps.

    Raises:
        FormatError: If there is no label, a row is wrong, or a file belongs to no image or several.
    """
    image_sizes, faults = how.image_sizes(), how.faults
    images, names = ImageNames(image_sizes), _class_names(folder)
    entries: list[Entry] = []
    found = boxes = 0
    for path in visible_files(folder):
        name = _image_name(path.relative_to(folder))
        if path.suffix.lower() != ".txt" or not (_starts_with_label(path) or images.find(name)):
            continue
        lines = {number: line for number, line in enumerate(_read_lines(path), start=1) if line.split()}
        rows = faults.each({n: partial(LabelRow.parse, path, n, line) for n, line in lines.items()}, Reason.mask)
        polygons = {number: row for number, row in rows.items() if row.coordinates}
        found += len(lines)
        boxes += len(rows) - len(polygons)
        draws = {number: row.draw for number, row in polygons.items()}
        image, masks = faults.drawn(partial(images.only, name, path), image_sizes.__getitem__, draws)
        for number, mask in masks.items():
            row, place = polygons[number], {"label_file": path.relative_to(folder).as_posix(), "line_number": number}
            entry = {"image_id": image, "category_id": row.category, "score": row.confidence, "segmentation": mask}
            entries.append(entry | place | ({"class_name": names[row.category]} if row.category in names else {}))
    if not found:
        raise FormatError(folder, None, "has no YOLO labels, which are .txt files with a row 'CLASS X1 Y1 X2 Y2 ...'")
    left = counted(boxes, "row that is a box", "rows that are boxes")
    return Content(entries, (f"left as they are: {left}",) if boxes else ())


def write_labels(
    folder: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path, tolerance: float = 0.0
) -> tuple[str, ...]:
    """Write the text files and ``.yaml`` files of ``source``, with the masks of ``entries`` where they changed.

    Class and confidence of a row stay as they are written; a mask of several parts becomes one polygon
    (`bpr.formats.polygons.trace_joined`). ``tolerance`` is px by which a polygon may leave the outline of its mask.

    Returns:
        Notes on holes that were filled, and on the IoU between masks and the polygons that were written for them.
    """
    folder, source = Path(folder), Path(source)
    masks = masks_by_file(entries, "label_file", "line_number")
    losses = Losses()
    for path in visible_files(source):
        if path.suffix.lower() not in _WRITTEN:
            continue
        name = path.relative_to(source)
        lines = _read_lines(path)
        for number, mask in masks.get(name.as_posix(), {}).items():
            row, size = LabelRow.parse(path, number, lines[number - 1]), (mask["size"][0], mask["size"][1])
            draw, replace = partial(LabelRow.draw, size=size), partial(LabelRow.with_polygon, size=size)
            lines[number - 1] = with_mask(row, mask, draw, replace, tolerance, losses, row.place).line
        write_bytes(folder / name, lines)
    return losses.notes()


def _starts_with_label(path: Path) -> bool:
    first = next((line for line in _read_lines(path) if line.split()), b"")
    try:
        LabelRow.parse(path, 1, first)
    except FormatError:
        return False
    return True


def _read_lines(path: Path) -> list[bytes]:
    with reading(path):
        return path.read_bytes().splitlines(keepends=True)


def _image_name(label: Path) -> str:
    """As Ultralytics has it: that of the label, but in ``images`` for the last folder named ``labels``."""
    *folders, name = PurePosixPath(strip_suffix(label.as_posix())).parts
    if "labels" in folders:
        folders[len(folders) - 1 - folders[::-1].index("labels")] = "images"
    return "/".join([*folders, name])


def _class_names(folder: Path) -> dict[int, str]:
    """``names`` of the nearest ``data.yaml``, a list or a mapping."""
    around = (folder / "data.yaml", *(parent / "data.yaml" for parent in folder.resolve().parents[:2]))
    path = next((path for path in around if path.is_file()), None)
    if path is None:
        return {}
    text = b"".join(_read_lines(path))
    if max(map(text.count, (b"[", b"{"))) > _MOST_BRACKETS:  # each costs its parser a thousand steps
        problem = f"cannot be read as YAML (more than {_MOST_BRACKETS} brackets)"
        raise FormatError(path, None, f"{problem}; write a line for each name")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, RecursionError) as error:  # of wrong tags
        raise FormatError(path, None, f"cannot be read as YAML ({' '.join(str(error).split())})") from error
    names = content.get("names") if isinstance(content, dict) else None
    pairs = names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else [])
    plain = str | int | float  # of nested ones, which aliases may make very long, none is a name
    numbered = ((as_number(number) if isinstance(number, str) else number, name) for number, name in pairs)
    return {number: str(name) for number, name in numbered if isinstance(number, int) and isinstance(name, plain)}


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return path / entry["label_file"], f"line {entry['line_number']}"


FORMAT: Final = PredictionFormat(
    "yolo", "", read_labels, write_labels, _place, masks_checked=True, has_polygons=True, names_images=True
)
