"""The formats that predictions are read in and written back to."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bpr.formats import cityscapes, coco, json_lines, mask_images, panoptic
from bpr.formats.coco import Annotations
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError


@dataclass(frozen=True, slots=True)
class PredictionFormat:
    """How predictions are read, and written with other masks.

    Attributes:
        name: As in ``format=NAME``.
        suffix: Of what is written; empty for a folder.
        dilation_ratio: Usual one of Boundary AP for data sets in this format.
        read: Entries of a file or folder, as of `bpr.formats.coco.read_results`; it may ask for the names of the
            images, without suffix. A `StoredEntries` is not held in memory.
        write: Writes entries to a file or folder; last comes what they were read from.
    """

    name: str
    suffix: str
    dilation_ratio: float
    read: Callable[[Path, Callable[[], Collection[str]]], Sequence[Entry]]
    write: Callable[[Path, Iterable[Mapping[str, Any]], Path], None]


FORMATS: Final = {
    found.name: found
    for found in (
        PredictionFormat(
            "coco",
            ".json",
            0.02,
            lambda path, _: coco.open_results(path),
            lambda path, e, _: coco.write_results(path, e),
        ),
        PredictionFormat(
            "jsonl",
            ".jsonl",
            0.02,
            lambda path, _: json_lines.open_json_lines(path),
            lambda path, e, _: json_lines.write_json_lines(path, e),
        ),
        PredictionFormat(
            "cityscapes",
            "",
            0.005,
            lambda path, _: cityscapes.read_predictions(path),
            cityscapes.write_predictions,
        ),
        PredictionFormat(
            "panoptic", ".json", 0.02, lambda path, _: panoptic.read_panoptic(path), panoptic.write_panoptic
        ),
        PredictionFormat(
            "masks",
            "",
            0.02,
            lambda path, names: mask_images.read_mask_images(path, names()),
            mask_images.write_mask_images,
        ),
    )
}
"""By name."""


def prediction_format(path: Path, name: str | None = None) -> PredictionFormat:
    """The format of a file or folder, by its content, or by its name.

    Args:
        path: Of the predictions.
        name: One of `FORMATS`, to force it.

    Raises:
        FormatError: If there is no such file, or it is in no known format.
    """
    if name is not None:
        if name not in FORMATS:
            raise FormatError(path, None, f"format={name} is not known; there are {', '.join(FORMATS)}")
        return FORMATS[name]
    if not path.exists():
        raise FormatError(path, None, "cannot be read (no such file or folder); check the path")
    if path.is_dir():
        return _folder_format(path)
    if panoptic.is_panoptic(path):
        return FORMATS["panoptic"]
    return FORMATS["jsonl" if json_lines.is_json_lines(path) else "coco"]


def _folder_format(path: Path) -> PredictionFormat:
    if cityscapes.is_prediction_folder(path):
        return FORMATS["cityscapes"]
    if mask_images.is_mask_folder(path):
        return FORMATS["masks"]
    mask_images.refuse_lossy_masks(path)
    raise FormatError(
        path, None, "has neither *_pred.txt files (Cityscapes) nor mask images; force a format with format=NAME"
    )


def read_annotations(path: str | Path) -> Annotations:
    """Read a COCO annotation file, or a folder of Cityscapes ground truth (``gtFine/val``).

    Raises:
        FormatError: If it is missing, wrong, or has no ground truth in it; names file, entry and remedy.
    """
    return cityscapes.read_ground_truth(path) if Path(path).is_dir() else coco.read_annotations(path)
