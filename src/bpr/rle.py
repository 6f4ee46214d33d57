"""Masks as COCO run-length encoding, whole or a window at a time; the only importer of `pycocotools.mask`.

A COCO RLE lists, column by column, how many pixels are background, then foreground, and so on. Decoding a window
costs its columns (and the length of the code), encoding one its area, whatever the size of the image.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bpr.structures import Mask, Rle, Size, Window

_NO_POLYGON: Final = "a polygon is a flat list of x, y of three points or more"
_NO_NUMBER: Final = "a coordinate is not a finite number"
_FARTHEST: Final = 10
"""How far a polygon may extend beyond the image, in multiples of its longer side."""
_MOST_PIXELS: Final = 2**32 - 1
"""Of an image: pycocotools counts in 32 bits."""
_MOST_DIGITS: Final = 7
"""Of a number in a code: a difference of two counts has 33 bits; pycocotools shifts further ones out of an int."""
_LONGEST_OUTLINE: Final = 1 << 20
"""px of polygons, along which pycocotools takes five steps each, that need no corners."""
_LONGEST_EDGE: Final = 16
"""px of polygons for each number in them, beyond that."""


def decode(rle: Rle, window: Window | None = None) -> Mask:
    """The mask of an RLE, or a window ``x1, y1, x2, y2`` of it: (y2 - y1, x2 - x1) bool, C order.

    Raises:
        ValueError: If the window does not lie in the image, or the counts do not fill it.
    """
    height, width = rle["size"]
    x1, y1, x2, y2 = (0, 0, width, height) if window is None else window
    if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
        raise ValueError(f"window {(x1, y1, x2, y2)} is not inside an image of {(height, width)} (h, w)")
    ends = _run_ends(rle["counts"])
    covered = ends[-1] if len(ends) else 0
    if covered != height * width:
        raise ValueError(f"RLE covers {covered} pixels of {height} x {width}")
    start, stop = x1 * height, x2 * height
    first, last = np.searchsorted(ends, start, "right"), np.searchsorted(ends, stop, "left") + 1
    runs = np.diff(np.minimum(ends[first:last], stop), prepend=start)
    values = (np.arange(first, first + len(runs)) % 2).astype(np.bool_)
    columns = np.repeat(values, runs).reshape(x2 - x1, height)
    return np.ascontiguousarray(columns[:, y1:y2].T)


def encode(mask: Mask, window: Window | None = None, size: Size | None = None) -> Rle:
    """The RLE of a mask, (h, w) bool, or of an image of ``size`` (h, w) that is background outside ``window``.

    Returns:
        Compressed COCO RLE, byte for byte what pycocotools makes of the whole mask.

    Raises:
        ValueError: If the mask does not have the extent of the window, or the window leaves the image.
    """
    x1, y1, x2, y2 = (0, 0, mask.shape[1], mask.shape[0]) if window is None else window
    height, width = mask.shape if size is None else size
    if mask.shape != (y2 - y1, x2 - x1) or not (x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height):
        raise ValueError(f"a mask of {mask.shape} does not fit window {(x1, y1, x2, y2)} of {(height, width)}")
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), np.bool_)  # a background pixel around each column
    columns[:, 1:-1] = mask.T
    flat = columns.reshape(-1)
    ends = np.flatnonzero(flat[1:] != flat[:-1])  # alternately: a run starts, a run ends
    column, row = np.divmod(ends, columns.shape[1])
    changes = (column + x1) * height + row + y1
    joined = np.flatnonzero(changes[1:-1:2] == changes[2::2])  # a run that continues in the next column
    changes = np.delete(changes, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(changes, prepend=0, append=height * width)
    if len(counts) > 1 and counts[-1] == 0:  # the last pixel is foreground
        counts = counts[:-1]
    return _compressed(counts, (height, width))


def from_segmentation(segmentation: object, size: Size) -> Rle:
    """Compressed RLE of what COCO files hold: polygons, uncompressed or compressed RLE.

    Args:
        segmentation: A list of polygons (flat ``[x, y, x, y, ...]``, px, three points or more each), or an
            RLE with ``counts`` as a list or 1-D array of whole numbers, a string or bytes.
        size: (h, w) of the image.

    Raises:
        ValueError: If it is none of these, an RLE of another size or length, or too large for pycocotools.
    """
    if min(size) < 1 or size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"an image of {size} (h, w) is none, or has more pixels than an RLE can hold (2**32 - 1)")
    if isinstance(segmentation, Mapping):
        return _from_rle(segmentation, size)
    if isinstance(segmentation, Sequence) and not isinstance(segmentation, str | bytes):
        return _from_polygons(segmentation, size)
    raise ValueError(f"a segmentation is a list of polygons or an RLE, got {type(segmentation).__name__}")


def uncompressed_counts(rle: Rle) -> list[int]:
    """The lengths of the runs, as ``counts`` of an uncompressed RLE: background first, column by column."""
    lengths: list[int] = np.diff(_run_ends(rle["counts"]), prepend=0).tolist()
    return lengths


def in_form_of(given: object, rle: Rle) -> dict[str, Any]:
    """An RLE such as ``given``, what COCO files hold: ``counts`` as a list, bytes or, also for polygons, a string.

    Further fields of ``given`` are kept.
    """
    if not isinstance(given, Mapping):
        return dict(rle)
    if isinstance(given["counts"], str | bytes):
        counts: Any = rle["counts"].encode() if isinstance(given["counts"], bytes) else rle["counts"]
    else:
        counts = uncompressed_counts(rle)
    return {**given, "counts": counts}


def bounding_box(rle: Rle) -> Window:
    """Tight box of the foreground, ``x1, y1, x2, y2``, half-open; all zero for an empty mask."""
    x, y, width, height = (int(v) for v in coco_mask.toBbox(_native(rle)))
    return (x, y, x + width, y + height) if width and height else (0, 0, 0, 0)


def common_box(rles: Sequence[Rle]) -> Window:
    """Tight box around the foreground of several masks of one image; all zero if all are empty."""
    boxes = [box for box in map(bounding_box, rles) if box[2]]
    if not boxes:
        return (0, 0, 0, 0)
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return (min(x1), min(y1), max(x2), max(y2))


def area(rle: Rle) -> int:
    """Number of foreground pixels."""
    return int(coco_mask.area(_native(rle)))


def iou(predicted: Sequence[Rle], true: Sequence[Rle]) -> NDArray[np.float64]:
    """(n, m) float64 IoU, in [0, 1], of every predicted with every true mask of one image; none is a crowd region."""
    if not predicted or not true:
        return np.zeros((len(predicted), len(true)))
    return np.asarray(coco_mask.iou([_native(p) for p in predicted], [_native(t) for t in true], [0] * len(true)))


def is_same(one: Rle, other: Rle) -> bool:
    """Whether two masks of one image have the same pixels; two empty ones do."""
    return one["counts"] == other["counts"] or bool(iou([one], [other])[0, 0] == 1)


@lru_cache(maxsize=256)
def _run_ends(counts: str) -> NDArray[np.int64]:
    """Where each run ends; kept for masks that are looked at again right away (checked, then decoded; many patches).

    The string holds base-32 digits, least significant first, each in a character from ``0`` on; bit 5 says
    that more digits follow, bit 4 of the last digit is the sign. From the fourth number on, the difference
    to the number two before is stored (COCO's ``maskApi.c`` is the definition of the format).
    """
    if not counts.isascii():
        raise ValueError("counts are not a compressed COCO RLE, which is ascii")
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.zeros(0, np.int64)
    last = (codes & 0x20) == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError("counts are not a compressed COCO RLE")
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    starts = ends - lengths + 1
    if lengths.max() > _MOST_DIGITS:
        raise ValueError(f"counts are not a compressed COCO RLE: a number has more than {_MOST_DIGITS} digits")
    digit = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 0x1F) << (5 * digit), starts)
    numbers -= np.where(codes[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if numbers.min() < 0 or numbers.max() > _MOST_PIXELS:
        raise ValueError("counts are not a compressed COCO RLE: a run is negative or longer than 2**32 - 1 pixels")
    ends = np.cumsum(numbers)
    ends.flags.writeable = False
    return ends


def _from_rle(segmentation: Mapping[str, Any], size: Size) -> Rle:
    if "counts" not in segmentation or not hasattr(segmentation.get("size"), "__iter__"):
        raise ValueError(f"an RLE has 'size' and 'counts', the former as [h, w], got {sorted(segmentation)}")
    if tuple(segmentation["size"]) != tuple(size):
        raise ValueError(f"the RLE is {tuple(segmentation['size'])} (h, w), its image {tuple(size)}")
    counts = segmentation["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    runs = np.diff(_run_ends(text), prepend=0) if isinstance(text, str) else _check_counts(text)
    total = int(runs.sum())
    if total != size[0] * size[1]:
        raise ValueError(f"the RLE covers {total} pixels of {size[0]} x {size[1]}")
    if not runs[1:].all():
        return _compressed(_without_empty(runs), size)
    return Rle(size=[int(n) for n in size], counts=text) if isinstance(text, str) else _compressed(runs, size)


def _without_empty(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same mask in runs of which only the first, of background, may be empty."""
    kept = np.flatnonzero(runs)
    starts = np.flatnonzero(np.diff(kept % 2, prepend=-1))  # neighbours of one value become one run
    joined = np.add.reduceat(runs[kept], starts)
    return np.concatenate([np.zeros(kept[0] % 2, np.int64), joined])


def _from_polygons(polygons: Sequence[Any], size: Size) -> Rle:
    if not polygons:
        return _compressed(np.array([size[0] * size[1]]), size)
    corners = [_check_corners(polygon, size) for polygon in polygons]
    outline = sum(float(np.abs(np.diff(c, axis=0, append=c[:1])).max(axis=1).sum()) for c in corners)
    allowed = _LONGEST_OUTLINE + _LONGEST_EDGE * sum(c.size for c in corners)
    if outline > allowed:
        raise ValueError(f"the outlines of the polygons are {outline:.0f} px long, which {allowed} px are enough for")
    flat: list[Any] = [c.ravel().tolist() for c in corners]
    return _text(coco_mask.merge(coco_mask.frPyObjects(flat, *size)))


def _check_corners(polygon: object, size: Size) -> NDArray[np.float64]:
    """(n, 2) x, y of the corners of a polygon."""
    if not isinstance(polygon, Sequence) or isinstance(polygon, str) or len(polygon) % 2:
        raise ValueError(_NO_POLYGON)
    corners = as_numbers(polygon)
    if corners.ndim != 1:
        raise ValueError(_NO_POLYGON)
    if corners.size < 6:
        raise ValueError(f"a polygon needs three points or more, got {corners.size // 2}")
    if np.abs(corners).max() > _FARTHEST * max(size):  # pycocotools walks along every edge
        raise ValueError(f"a polygon has a coordinate far outside of an image of {size} (h, w), in px")
    return corners.reshape(-1, 2)


def as_numbers(coordinates: object) -> NDArray[np.float64]:
    """Coordinates in a list, perhaps of lists, as an array; `ValueError` if one is no finite number."""
    given = np.asarray(coordinates)
    try:
        numbers = given.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(_NO_NUMBER) from error
    if given.dtype.kind in "bSU" or not np.isfinite(numbers).all():
        raise ValueError(_NO_NUMBER)
    return numbers


def _check_counts(counts: Any) -> NDArray[np.int64]:
    given = counts.tolist() if isinstance(counts, np.ndarray) else counts
    kinds = set(map(type, given)) if isinstance(given, Sequence) else {type(None)}
    if bool in kinds or not all(issubclass(kind, Integral) for kind in kinds - {int}) or min(given, default=0) < 0:
        raise ValueError("the counts of an uncompressed RLE are whole numbers >= 0")
    if max(given, default=0) > _MOST_PIXELS or (runs := np.array(given, np.int64)).sum() > _MOST_PIXELS:
        raise ValueError("the counts of an RLE are more than it can hold (2**32 - 1 pixels)")
    return runs


def _compressed(counts: NDArray[np.int64], size: Size) -> Rle:
    if size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"an image of {size} (h, w) has more pixels than an RLE can hold (2**32 - 1)")
    uncompressed: Any = {"size": list(size), "counts": counts.astype(np.uint32)}
    return _text(coco_mask.frPyObjects(uncompressed, *size))


def _text(native: Any) -> Rle:
    return Rle(size=[int(n) for n in native["size"]], counts=native["counts"].decode("ascii"))


def _native(rle: Rle) -> Any:
    return {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
