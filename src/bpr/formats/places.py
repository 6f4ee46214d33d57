"""Where an entry of predictions stands, as a person finds it: in a list, a text file or an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpr.formats import coco
from bpr.formats.errors import FormatError
from bpr.structures import Rle, Size


def place(predictions: Path, number: int, entry: Mapping[str, Any]) -> tuple[Path, str | None]:
    """The file that holds an entry, and where in it, as `bpr.formats.errors.FormatError` takes them.

    For Cityscapes that is the text file, with the line and its PNG; for mask images the image, with the value in a
    label image; for panoptic files the PNG, with the segment; else the results file, with the number of the entry.

    Args:
        predictions: File or folder that the entry was read from.
        number: Of the entry in it, from 0.
        entry: From any reader of `bpr.formats.predictions`.
    """
    if {"prediction_file", "line_number", "mask_file"} <= entry.keys():
        where = f"line {entry['line_number']} ({predictions / entry['mask_file']})"
        return predictions / entry["prediction_file"], where
    if {"mask_file", "value"} <= entry.keys():
        return predictions / entry["mask_file"], None if entry["value"] is None else f"value {entry['value']}"
    if {"png_file", "segment"} <= entry.keys():
        return predictions.with_suffix("") / entry["png_file"], f"segment {entry['segment']}"
    return predictions, f"entry {number}"


def named_place(predictions: Path, number: int, entry: Mapping[str, Any]) -> str:
    """The same as text, to be named in a message about another file."""
    path, where = place(predictions, number, entry)
    return f"{path}, {where}" if where else f"{path}"


def entry_rle(predictions: Path, number: int, entry: Mapping[str, Any], size: Size) -> Rle:
    """The mask of an entry, for an image of ``size`` (h, w); `bpr.formats.coco.result_rle` for all formats.

    Raises:
        FormatError: If it is no valid mask of that size; names the `place`.
    """
    try:
        return coco.result_rle(predictions, number, entry, size)
    except FormatError as error:
        path, where = place(predictions, number, entry)
        if path == predictions:
            raise
        found = tuple(entry["segmentation"]["size"])
        problem = (
            f"the mask is {found} (h, w), its image {tuple(size)}; save it in the size of the image it was made for"
        )
        raise FormatError(path, where, problem) from error
