"""Cityscapes: predictions in the layout of the official evaluation, and ground truth in ``gtFine`` folders.

Predictions are text files ``CITY_SEQUENCE_FRAME*.txt`` (usually ``*_pred.txt``) anywhere below one folder, with a line
``MASK.png LABEL_ID CONFIDENCE`` for each instance; the path of the mask is relative to its text file, and every
pixel that is not 0 is foreground. A text file named ``index.txt`` takes the name of its folder. Other text files, and
hidden ones, are no predictions.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from bpr import rle as rle_codec
from bpr.formats.annotations import AnnotatedImage, Annotations
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.files import copy_file, read_text, replacing, resolve_inside, visible_files, write_text
from bpr.formats.label_images import read_labels
from bpr.formats.prediction_format import Content, PredictionFormat, Reading
from bpr.structures import OnError, Rle, TrueInstance

_THINGS: Final = "person rider car truck bus caravan trailer train motorcycle bicycle"
LABELS: Final = dict(enumerate(_THINGS.split(), start=24))
"""Labels with instances, by label id (``cityscapesscripts.helpers.labels``); 29 and 30 are not evaluated."""

INSTANCES_SUFFIX: Final = "_gtFine_instanceIds.png"
IMAGE_SUFFIX: Final = "_leftImg8bit.png"

_NAME: Final = re.compile(r"(?P<city>[^_]+)_[0-9]+_[0-9]+")
_INDEX: Final = "index.txt"
_INSTANCES_PER_LABEL: Final = 1000


def are_predictions(files: Iterable[Path]) -> bool:
    """Whether text files of predictions are among the files of a folder; a stray ``index.txt`` does not count."""
    return any(_NAME.match(_named_after(file)) or file.name != _INDEX for file in files if _is_prediction_file(file))


def prediction_files(folder: Path) -> list[Path]:
    """The text files below a folder that are meant as predictions, in the order of their paths.

    They end in ``_pred.txt``, or are named after an image or ``index.txt``. Others, such as ``README.txt``, are not.
    """
    return list(filter(_is_prediction_file, visible_files(folder)))


def read_predictions(folder: Path, how: Reading) -> Content:
    """Read a folder of predictions, in the order of the paths of the text files.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives: ``image_id`` is ``CITY_SEQUENCE_FRAME``,
        ``file_name`` the image below ``leftImg8bit/SPLIT``, ``category_id`` the label id; ``prediction_file``
        and ``mask_file`` are where the entry came from, relative to ``folder``, ``line_number`` (from 1) is its line.
        Bad lines that ``how.faults`` keeps are left out.

    Raises:
        FormatError: If a line is wrong, or a mask is missing or no mask; names file, line and remedy.
    """
    if not folder.is_dir():
        raise FormatError(folder, None, "is not a folder; give the folder of the *_pred.txt files")
    lists = prediction_files(folder)
    if not lists:
        problem = "has no text files of predictions; Cityscapes has one CITY_SEQUENCE_FRAME*_pred.txt per image"
        raise FormatError(folder, None, problem)
    named: dict[str, Path] = {}
    for path in lists:
        name = image_name(path)
        if name in named:
            raise FormatError(path, None, f"predicts {name} as {named[name]} does; keep one of them")
        named[name] = path
    return Content([entry for name, path in named.items() for entry in _read_list(folder, path, name, how.faults)])


def _is_prediction_file(path: Path) -> bool:
    named = path.name.endswith("_pred.txt") or path.name == _INDEX or _NAME.match(path.name)
    return path.suffix == ".txt" and bool(named)


def image_name(path: Path) -> str:
    """``CITY_SEQUENCE_FRAME`` of a text file or, for ``index.txt``, of its folder; `FormatError` if it has none."""
    match = _NAME.match(_named_after(path))
    if match is None:
        problem = "is not named after an image (CITY_SEQUENCE_FRAME*.txt); rename it or take it out of the folder"
        raise FormatError(path, None, problem)
    return match.group()


def write_predictions(folder: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path) -> None:
    """Write entries of `read_predictions`, perhaps with other masks, under the same names and with the same lines.

    Each file is written under another name and then renamed. Masks are 8-bit PNGs, 0 and 255. Text files of ``source``,
    the folder that was read, come with all their lines, also without any: the official script wants one for every
    image. Of lines that are no entry, the masks are copied where they can be found. Of several lines with one mask
    file, one that changed the mask decides.
    """
    folder, source = Path(folder), Path(source)
    written = set[Path]()
    for entry in entries:
        mask_file = Path(entry["mask_file"])
        if mask_file in written and rle_codec.is_same(_read_mask(source / mask_file), entry["segmentation"]):
            continue  # such as one of a line whose score is below `min_score`
        written.add(mask_file)
        with replacing(folder / entry["mask_file"]) as unfinished:
            mask = rle_codec.decode(entry["segmentation"])
            PillowImage.fromarray(mask.astype(np.uint8) * 255).save(unfinished, format="PNG")
    bad = Faults(OnError.keep)
    for path in prediction_files(source):
        lines = _lines(path)
        write_text(folder / path.relative_to(source), "".join(line + "\n" for line in lines.values()))
        for number, line in lines.items():
            named = bad.attempt(partial(_mask_file, source, path, number, line.split()[0]), Reason.no_mask)
            if named is not None and named not in written:
                copy_file(source / named, folder / named)


def read_ground_truth(folder: str | Path) -> Annotations:
    """Read ``*_gtFine_instanceIds.png`` below a folder, such as ``gtFine/val``; `FormatError` if there is none.

    An id of 1000 and above is an instance of the label ``id // 1000``; the id of a label with instances itself
    marks a group that could not be told apart, which is read as a crowd region.
    """
    folder = Path(folder)
    paths = [path for path in visible_files(folder) if path.name.endswith(INSTANCES_SUFFIX)]
    if not paths:
        raise FormatError(folder, None, f"has no *{INSTANCES_SUFFIX}; give a folder such as gtFine/val")
    images: dict[int | str, AnnotatedImage] = {}
    for path in paths:
        name = path.name.removesuffix(INSTANCES_SUFFIX)
        ids = read_labels(path)
        truths = [_truth(ids, int(value)) for value in np.unique(ids) if _label(int(value)) in LABELS]
        images[name] = AnnotatedImage(image_file(name), (ids.shape[0], ids.shape[1]), tuple(truths))
    return Annotations(folder, images, dict(LABELS))


def image_file(name: str) -> str:
    """The image ``CITY_SEQUENCE_FRAME`` below ``leftImg8bit/SPLIT``."""
    return f"{name.partition('_')[0]}/{name}{IMAGE_SUFFIX}"


def _named_after(path: Path) -> str:
    return path.parent.name if path.name == _INDEX else path.name


def _label(value: int) -> int:
    return value // _INSTANCES_PER_LABEL if value >= _INSTANCES_PER_LABEL else value


def _truth(ids: NDArray[Any], value: int) -> TrueInstance:
    return TrueInstance(rle_codec.encode(ids == value), _label(value), value < _INSTANCES_PER_LABEL)


def _lines(path: Path) -> dict[int, str]:
    """The lines of a text file that are not empty, by number from 1."""
    lines = enumerate(read_text(path, "utf-8-sig").splitlines(), start=1)
    return {number: line.strip() for number, line in lines if line.strip()}


def _read_list(folder: Path, path: Path, name: str, faults: Faults) -> list[Entry]:
    entries: list[Entry] = []
    for number, line in _lines(path).items():
        entry = faults.attempt(partial(_read_line, folder, path, number, line, name), Reason.field)
        entries += [] if entry is None else [entry]
    for entry in [] if faults.keeps else entries:  # which of them is wrong, only their image can tell
        if entry["segmentation"]["size"] != entries[0]["segmentation"]["size"]:
            pair = entries[0], entry
            one, other = (f"{folder / e['mask_file']} is {tuple(e['segmentation']['size'])}" for e in pair)
            where = f"lines {entries[0]['line_number']} and {entry['line_number']}"
            problem = f"the masks differ in size, {one} and {other} (h, w); both must have the size of the image"
            raise FormatError(path, where, problem)
    return entries


def _read_line(folder: Path, path: Path, number: int, line: str, name: str) -> Entry:
    where = f"line {number}"
    parts = line.split()
    if len(parts) != 3:
        raise FormatError(path, where, f"expected 'MASK.png LABEL_ID CONFIDENCE', got {line!r:.80}")
    try:
        label, score = float(parts[1]), float(parts[2])
    except ValueError as error:
        raise FormatError(path, where, f"label id and confidence must be numbers, got {parts[1:]}") from error
    if label not in LABELS:
        known = ", ".join(f"{number} {text}" for number, text in LABELS.items())
        raise FormatError(path, where, f"label id {parts[1]} has no instances; those that have are {known}")
    if not np.isfinite(score):
        raise FormatError(path, where, f"the confidence must be finite, got {parts[2]}")
    mask_file = _mask_file(folder, path, number, parts[0])
    try:
        mask = _read_mask(folder / mask_file)
    except FormatError as error:
        raise FormatError(path, where, str(error), Reason.mask) from error
    return {
        "image_id": name,
        "category_id": int(label),
        "score": score,
        "segmentation": mask,
        "file_name": image_file(name),
        "mask_file": mask_file.as_posix(),
        "prediction_file": path.relative_to(folder).as_posix(),
        "line_number": number,
    }


def _read_mask(path: Path) -> Rle:
    return rle_codec.encode(read_labels(path) != 0)


def _mask_file(folder: Path, path: Path, number: int, name: str) -> Path:
    """The mask that a line of the text file ``path`` names, relative to ``folder``; `FormatError` if it is missing."""
    try:
        mask_file = resolve_inside(name, path.parent.relative_to(folder))
        if not os.path.isfile(folder / mask_file):
            raise ValueError(f"{folder / mask_file} is missing; put it there or take the line out")
    except ValueError as error:
        raise FormatError(path, f"line {number}", str(error), Reason.no_mask) from error
    return mask_file


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return path / entry["prediction_file"], f"line {entry['line_number']} ({path / entry['mask_file']})"


FORMAT: Final = PredictionFormat(
    "cityscapes",
    "",
    read_predictions,
    write_predictions,
    _place,
    0.005,
    masks_checked=True,
    names_images=True,
    class_names=LABELS,
)
