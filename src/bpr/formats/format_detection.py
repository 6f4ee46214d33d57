"""Which format predictions have: told by their content, or by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bpr.formats import cityscapes, coco, coco_annotations, labelme, mask_images, panoptic, sam, yolo
from bpr.formats.errors import FormatError
from bpr.formats.files import of_kind, visible_files
from bpr.formats.json_arrays import first_member
from bpr.formats.json_fields import holds_object, may_be_json, read_json, refuse_utf16
from bpr.formats.prediction_format import PredictionFormat

FORMATS: Final = {
    form.name: form
    for form in (
        coco.FORMAT,
        coco.JSON_LINES,
        coco_annotations.FORMAT,
        cityscapes.FORMAT,
        panoptic.FORMAT,
        yolo.FORMAT,
        labelme.FORMAT,
        sam.FORMAT,
        mask_images.FORMAT,
    )
}
"""By name."""
_TAKEN: Final = (
    "taken are COCO results (.json, .jsonl), annotation, panoptic, labelme and SAM files (.json), and folders "
    "of labelme or SAM files, YOLO labels (.txt), Cityscapes predictions (*_pred.txt) or masks (.png, .tif, .bmp), "
    "such as those of PASCAL VOC, DAVIS and YouTube-VOS, all text as UTF-8; force one with format=NAME"
)


def prediction_format(path: Path, name: str | None = None) -> PredictionFormat:
    """The format of a file or folder: that of `FORMATS` which is named, or else by its content, else `FormatError`."""
    if name is not None:
        if name not in FORMATS:
            raise FormatError(path, None, f"format={name} is not known; there are {', '.join(FORMATS)}")
        return FORMATS[name]
    if not path.exists():
        raise FormatError(path, None, "cannot be read (no such file or folder); check the path")
    return _folder_format(path) if path.is_dir() else _file_format(path)


def _file_format(path: Path) -> PredictionFormat:
    if (found := _format_of_one_image(path)) is not None:
        return found
    if panoptic.is_panoptic(path):
        return panoptic.FORMAT
    if coco.is_json_lines(path):
        return coco.JSON_LINES
    if not may_be_json(path):
        refuse_utf16(path)
        raise FormatError(path, None, f"is in no known format; {_TAKEN}")
    if not holds_object(path):
        return coco.FORMAT
    if first_member(path, "images", "annotations") is None:
        read_json(path)  # says so if it is no JSON at all
        raise FormatError(path, None, f"is in no known format; {_TAKEN}")
    return coco_annotations.FORMAT


def _format_of_one_image(path: Path) -> PredictionFormat | None:
    """The format of a JSON file that is of one image."""
    if labelme.is_labelme_file(path):
        return labelme.FORMAT
    return sam.FORMAT if sam.is_sam_file(path) else None


def _folder_format(path: Path) -> PredictionFormat:
    files = visible_files(path)
    texts, json_files = of_kind(files, ".txt"), of_kind(files, ".json")
    labels = yolo.FORMAT if yolo.are_labels(texts) else None
    of_images = next((found for file in json_files if (found := _format_of_one_image(file)) is not None), None)
    if labels is not None and of_images is not None:
        problem = f"has files of {labels.name} and of {of_images.name}"
        remedy = f"say which are meant with format={labels.name} or format={of_images.name}"
        raise FormatError(path, None, f"{problem}; {remedy}")
    if (found := labels or of_images) is not None:
        return found
    if cityscapes.are_predictions(files):
        return cityscapes.FORMAT
    _refuse_coco_in(path, json_files)
    if of_kind(files, *mask_images.MASK_SUFFIXES):
        return mask_images.FORMAT
    if texts and not any(file.stat().st_size for file in texts):
        problem = f"has nothing to refine: its {len(texts)} text files are empty, as YOLO labels without an object"
        raise FormatError(path, None, problem)
    mask_images.refuse_lossy_masks(path, files)
    raise FormatError(path, None, f"is in no known format; {_TAKEN}")


def _refuse_coco_in(path: Path, files: Sequence[Path]) -> None:
    """`FormatError` if COCO annotation files are in a folder, as CVAT and Roboflow put them beside images."""
    found = [file for file in files if first_member(file, "images", "annotations") is not None]
    if found:
        named = ", ".join(file.relative_to(path).as_posix() for file in found[:3])
        remedy = f"give that file, predictions={found[0]}, or format=masks if PNGs are meant"
        raise FormatError(path, None, f"is a folder with COCO annotations ({named}); {remedy}")
