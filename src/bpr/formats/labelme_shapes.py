"""One shape of a labelme file: a polygon, or a mask as a PNG of its box."""

import base64
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image as PillowImage

from bpr import rle as rle_codec
from bpr.formats.decoding import UNDECODABLE
from bpr.formats.errors import FormatError
from bpr.formats.polygons import Losses, with_mask
from bpr.structures import Mask, Rle, Size, Window

REFINED: Final = ("polygon", "mask")
"""Types of shapes that are refined."""


def draw(file: Path, number: int, shape: Mapping[str, Any], size: Size) -> Rle:
    """The mask of shape ``number`` of a file, in an image of ``size`` (h, w); `FormatError` if it has none."""
    try:
        points = rle_codec.as_numbers(shape["points"]).reshape(-1, 2)
        if shape.get("shape_type") != "mask":
            return rle_codec.from_segmentation([points.ravel().tolist()], size)
        (x1, y1), (x2, y2) = [[int(value) for value in point] for point in points.tolist()]
        window = (x1, y1, x2 + 1, y2 + 1)
        return rle_codec.encode(_decode_crop(shape.get("mask"), window, size), window, size)
    except UNDECODABLE as error:
        raise FormatError(file, place_of(number), f"has no mask in an image of {size} (h, w): {error}") from error


def rewritten(
    file: Path, number: int, shape: dict[str, Any], mask: Rle, tolerance: float, losses: Losses
) -> dict[str, Any]:
    """Shape ``number`` of a file with another mask, or as it is, the same object, if it draws this one."""
    mask_of = partial(draw, file, number, size=(mask["size"][0], mask["size"][1]))
    if shape.get("shape_type") != "mask":
        return with_mask(shape, mask, mask_of, _with_polygon, tolerance, losses, f"{file}, {place_of(number)}")
    if rle_codec.is_same(mask_of(shape), mask):
        return shape
    x1, y1, x2, y2 = window = rle_codec.bounding_box(mask)
    return {**shape, "points": [[x1, y1], [x2 - 1, y2 - 1]], "mask": _encode_crop(mask, window)}


def place_of(number: int) -> str:
    """Where in its file a shape is."""
    return f"shapes[{number}]"


def _with_polygon(shape: dict[str, Any], polygon: list[float]) -> dict[str, Any]:
    return {**shape, "points": np.reshape(polygon, (-1, 2)).tolist()}


def _decode_crop(text: object, window: Window, size: Size) -> Mask:
    """The mask in a PNG in base64, which must have the extent of its window, inside of an image of ``size`` (h, w)."""
    if not isinstance(text, str):
        raise ValueError(f"'mask' must be a PNG in base64, got {type(text).__name__}")
    x1, y1, x2, y2 = window
    try:
        with PillowImage.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if (image.height, image.width) != (y2 - y1, x2 - x1) or not (x2 <= size[1] and y2 <= size[0]):
                found = f"a mask of {(image.height, image.width)} does not fit window {window} of {size}"
                raise ValueError(f"{found} (h, w)")
            return np.asarray(image.convert("L"), np.bool_)
    except (PillowImage.DecompressionBombError, MemoryError) as error:
        raise ValueError(f"it is too large ({error})") from error
    except ModuleNotFoundError as error:  # see `bpr.formats.decoding.opened_image`
        raise ValueError("cannot identify image file") from error


def _encode_crop(mask: Rle, window: Window) -> str:
    png = io.BytesIO()
    PillowImage.fromarray(rle_codec.decode(mask, window).astype(np.uint8)).save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()
