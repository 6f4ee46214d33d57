"""Polygons of the objects of one image: drawn as masks, and traced again."""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bpr import rle
from bpr.api.arrays import Masks, MaskStack, in_type_of, to_array
from bpr.formats.polygons import trace
from bpr.structures import Mask, Size

_FEWEST_POINTS: Final = 3

Parts = list[NDArray[Any]]
"""Polygons of one object, (k, 2) each."""


def from_polygons(given: Any, size: Size, tolerance: float = 0.0) -> Masks:
    """The masks of polygons, in an image of ``size`` (h, w); see `bpr.api.refiner.Refiner.refine_polygons`.

    Raises:
        TypeError: If they are no list.
        ValueError: If one is no polygon of such an image; the message says which.
    """
    if not isinstance(given, list | tuple):
        raise TypeError(f"polygons must be a list with a (k, 2) array for each object, got {type(given).__name__}")
    objects = [_parts(number, one) for number, one in enumerate(given)]
    _check_unit([part for parts in objects for part in parts], size)
    _check_types(given, size)
    drawn = [_drawn(number, parts, size) for number, parts in enumerate(objects)]
    masks = np.stack(drawn) if drawn else np.zeros((0, *size), np.bool_)

    def rebuild(refined: MaskStack) -> list[list[Any]]:
        result = []
        for one, parts, before, after in zip(given, objects, masks, refined, strict=True):
            if np.array_equal(before, after):
                each = [(part, to_array(part)) for part in _as_parts(one)]
                result.append([_in_form_of(part, array) for part, array in each if array.size])
            else:
                traced = _traced(after, tolerance, whole=parts[0].dtype.kind != "f")
                result.append([_in_form_of(one, part) for part in traced])
        return result

    return Masks(masks, rebuild)


def _parts(number: int, given: Any) -> Parts:
    """The polygons of one object; an empty one has none."""
    try:
        parts = [to_array(part) for part in _as_parts(given)]
    except ValueError as error:
        raise ValueError(f"object {number} is no (k, 2) polygon: {error}") from error
    for part in parts:
        if part.size and (part.ndim != 2 or part.shape[1] != 2 or part.dtype.kind not in "iuf"):
            flat = part.ndim == 1 or part.shape[1:] == (1, 2)
            remedy = "; reshape(-1, 2) makes it of a flat one, and of those of OpenCV" if flat else ""
            problem = f"a polygon must be (k, 2) numbers, x and y in px, got {part.dtype} {part.shape}"
            raise ValueError(f"object {number}: {problem}{remedy}")
        if 0 < len(part) < _FEWEST_POINTS:
            raise ValueError(f"object {number}: a polygon has three points or more, got {len(part)}; leave it out")
    return [part for part in parts if part.size]


def _as_parts(given: Any) -> Sequence[Any]:
    return given if _is_in_parts(given) else [given]


def _is_in_parts(given: Any) -> bool:
    """Whether an object is a list of polygons, not one polygon."""
    return isinstance(given, list | tuple) and any(np.ndim(one) == 2 for one in given)


def _check_unit(parts: Parts, size: Size) -> None:
    """Refuse coordinates that are shares of the image."""
    shares = all(part.dtype.kind == "f" and part.min() >= 0 and part.max() <= 1 for part in parts)
    if parts and shares and max(size) > 2:
        remedy = "multiply x by the width of the image and y by its height"
        raise ValueError(f"all coordinates of the polygons are in [0, 1], but they must be in px: {remedy}")


def _check_types(given: Sequence[Any], size: Size) -> None:
    """Refuse types that cannot hold all corners of pixels of the image, for floats also the middles of their edges."""
    for number, one in enumerate(given):
        for part in filter(len, _as_parts(one)):
            kind = part.dtype if isinstance(part, torch.Tensor) else np.asarray(part).dtype
            if _largest(kind) < max(size):
                problem = f"{kind} cannot hold all coordinates of an image of {size} (h, w)"
                raise ValueError(f"object {number}: {problem}; convert the polygons, such as to float32")


def _largest(kind: Any) -> float:
    """Up to where a type of NumPy or torch has all whole numbers, or of floats all halves."""
    of: Any = torch if isinstance(kind, torch.dtype) else np
    return float(of.iinfo(kind).max if "int" in str(kind) else 1 / of.finfo(kind).eps)


def _drawn(number: int, parts: Parts, size: Size) -> Mask:
    try:
        return rle.decode(rle.from_segmentation([part.ravel().tolist() for part in parts], size))
    except ValueError as error:
        raise ValueError(f"object {number}: {error}") from error


def _traced(mask: Mask, tolerance: float, whole: bool) -> Parts:
    """The outlines of the parts of a mask, the largest part first."""
    polygons, _ = trace(rle.encode(mask), tolerance, whole)
    parts = [np.reshape(polygon, (-1, 2)) for polygon in polygons]
    return sorted(parts, key=lambda part: -cv2.contourArea(part.astype(np.float32)))


def _in_form_of(given: Sequence[Any], part: NDArray[Any]) -> Any:
    """A copy of a polygon in the type of the object that was given: an array, a tensor or a list of points."""
    like = next(one for one in given if np.ndim(one) == 2) if _is_in_parts(given) else given
    array = in_type_of(like, part.copy())
    return array.tolist() if isinstance(like, list | tuple) else array
