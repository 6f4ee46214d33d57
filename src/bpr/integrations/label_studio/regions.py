"""Regions of Label Studio: brushes and polygons, as COCO RLEs and back.

A brush is a run-length code of the RGBA pixels of the image (``value.rle``), a polygon a list of ``[x, y]`` in percent
of its sides (``value.points``): https://labelstud.io/guide/task_format
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bpr import rle as rle_codec
from bpr.formats.polygons import trace_joined
from bpr.structures import Rle, Size

Entry = Mapping[str, Any]
"""One entry of a ``result``: a region, or what is said of it, with its geometry in ``value``."""

MOST_PIXELS: Final = 100_000_000
"""Of an image: its brushes are decoded to four bytes a pixel."""
_PX_DECIMALS: Final = 6
"""Of coordinates: corners in the middle of pixel edges must be found there again."""
_MISSING: Final = "brushes need label-studio-sdk: pip install -e '.[label-studio]'"


def has_mask(entry: Any) -> bool:
    """Whether an entry has the geometry of a brush or of a polygon."""
    value = entry.get("value") if isinstance(entry, Mapping) else None
    return isinstance(value, Mapping) and ("rle" in value or "points" in value)


def decode(entry: Entry, size: Size) -> Rle:
    """The mask of an entry that `has_mask`, in an image of ``size`` (h, w).

    Raises:
        ValueError: If it has none in such an image: what is wrong with it.
    """
    value = entry["value"]
    found = entry.get("original_height"), entry.get("original_width")
    if found != size:
        raise ValueError(f"is of an image of {found} (h, w), but the image is {size}")
    if entry.get("image_rotation"):
        raise ValueError("is on a rotated image")
    if "rle" in value:
        return _from_brush(value["rle"], size)
    if value.get("closed") is False:
        raise ValueError("is a polygon that is not closed")
    return _from_polygon(value["points"], size)


def encode(entry: Entry, mask: Rle, tolerance: float = 0.0) -> dict[str, Any]:
    """The entry with another mask, all else as it is; holes of a polygon are filled, and its parts are joined.

    Args:
        entry: As of `decode`.
        mask: Of the same image; not empty.
        tolerance: px by which the outline of a polygon may move to save corners (Douglas-Peucker).
    """
    if "rle" in entry["value"]:
        pixels = rle_codec.decode(mask).astype(np.uint8) * 255
        geometry: dict[str, Any] = {"rle": _brush().mask2rle(pixels)}
    else:
        height, width = mask["size"]
        polygon, _ = trace_joined(mask, tolerance)
        geometry = {"points": (np.reshape(polygon, (-1, 2)) * 100 / (width, height)).tolist()}
    return {**entry, "value": {**entry["value"], **geometry}}


def require_sdk() -> None:
    """`ModuleNotFoundError`, with the remedy, unless label-studio-sdk is installed."""
    _brush()


def _brush() -> Any:
    try:
        from label_studio_sdk.converter import brush  # two seconds
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{_MISSING} ({error})", name=error.name) from error
    return brush


def _from_brush(code: Any, size: Size) -> Rle:
    """A pixel belongs to the mask if it is half as opaque as the most opaque one, or more: strokes have soft edges."""
    values = 4 * size[0] * size[1]
    try:
        data = bytes(code) if isinstance(code, list) else b""
    except (TypeError, ValueError) as error:
        raise ValueError(f"has an 'rle' that is no list of bytes: {error}") from error
    if int.from_bytes(data[:4]) != values:
        raise ValueError(f"has an 'rle' that does not hold the {values} values of an image of {size} (h, w)")
    try:
        pixels = _brush().decode_rle(data)
    except (IndexError, OverflowError, ValueError) as error:
        raise ValueError("has an 'rle' that is damaged") from error
    alpha = pixels.reshape(*size, 4)[..., 3]
    return rle_codec.encode((alpha > 0) & (alpha >= alpha.max() / 2))


def _from_polygon(points: Any, size: Size) -> Rle:
    try:
        shares = np.asarray(points, np.float64).reshape(-1, 2) / 100
    except (TypeError, ValueError) as error:
        raise ValueError(f"has 'points' that are no pairs of numbers: {error}") from error
    corners = np.round(shares * size[::-1], _PX_DECIMALS)
    return rle_codec.from_segmentation([corners.ravel().tolist()], size)
