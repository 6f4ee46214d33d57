"""From a mask to patches: where they lie, and cutting them out."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bpr.patches.boundary import boundary_strength
from bpr.patches.placement import place_centres
from bpr.structures import Boxes, Mask, PatchSpec, Size, Window

Cut = TypeVar("Cut", bound=np.generic)


def bounding_box(mask: Mask) -> Window:
    """Tight box of the foreground of a mask (h, w), ``x1, y1, x2, y2``, half-open; all zero for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def working_window(box: Window, size: Size, margin: int) -> Window:
    """The part of the image that patches of an instance can touch: its box grown by ``margin`` px.

    Args:
        box: Tight box of the mask; may be empty.
        size: (h, w) of the image.
        margin: px, the side of a patch.

    Returns:
        ``x1, y1, x2, y2``, inside the image; empty (all zero) for an empty box.
    """
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        return (0, 0, 0, 0)
    height, width = size
    return (max(x1 - margin, 0), max(y1 - margin, 0), min(x2 + margin, width), min(y2 + margin, height))


def propose_boxes(
    mask: NDArray[np.bool_], spec: PatchSpec, origin: tuple[int, int] = (0, 0), size: Size | None = None
) -> Boxes:
    """Place square boxes along the boundary of a mask (paper, section 3.2).

    Boxes are centred on boundary pixels, which `bpr.patches.placement` chooses; those that stick out of the image are
    moved back into it. Where the image is smaller than a patch, the box starts at 0 and sticks out to the right
    or below.

    Args:
        mask: (h, w) bool, the whole mask or the window of it that holds its foreground with at least one
            pixel of background around, except where the window ends with the image.
        spec: Size of the patches, NMS threshold, behaviour at the border.
        origin: ``x, y`` of the window in the image.
        size: (h, w) of the image; by default the mask is the whole image.

    Returns:
        (n, 4) boxes of ``spec.size`` px in order of selection, image px; n is 0 for a mask without boundary.

    Raises:
        ValueError: If the foreground touches a side of the window that is not the border of the image.
    """
    size = mask.shape if size is None else size
    assert size is not None
    _check_window(mask, origin, size)
    if spec.compat_2021 and min(size) <= spec.size:
        return np.zeros((0, 4), np.int64)
    strength = boundary_strength(mask, spec.image_border or spec.compat_2021)
    corners = place_centres(mask, strength, spec) + (np.array(origin) - spec.size // 2)
    if spec.compat_2021:
        corners = _move_back_2021(corners, spec.size, size)
    else:
        moved = _move_back(corners, spec.size, size)
        if (moved != corners).any():  # some may have met
            moved = moved[np.sort(np.unique(moved, axis=0, return_index=True)[1])]
        corners = moved
    return np.concatenate([corners, corners + spec.size], axis=1)


def crop(array: NDArray[Cut], boxes: Boxes) -> NDArray[Cut]:
    """Cut equal boxes out of an image or a mask.

    Args:
        array: (h, w) or (h, w, c), at least one pixel.
        boxes: (n, 4) of one common size, px of ``array``; parts outside repeat its outermost pixels.

    Returns:
        (n, s, s) or (n, s, s, c), a copy, of the type of ``array``; with n = 0, s is 0.

    Raises:
        ValueError: If the boxes differ in size.
    """
    if len(boxes) == 0:
        return np.zeros((0, 0, 0, *array.shape[2:]), array.dtype)
    sides = boxes[:, 2:] - boxes[:, :2]
    if (sides != sides[0]).any():
        raise ValueError(f"boxes must have one common size, got {np.unique(sides, axis=0).tolist()}")
    height, width = array.shape[:2]
    before = np.maximum(-boxes[:, :2].min(axis=0), 0)
    after = np.maximum(boxes[:, 2:].max(axis=0) - (width, height), 0)
    if before.any() or after.any():
        pad = ((before[1], after[1]), (before[0], after[0]), *[(0, 0)] * (array.ndim - 2))
        array, boxes = np.pad(array, pad, mode="edge"), boxes + np.tile(before, 2)
    return np.stack([array[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes.tolist()])


def _check_window(mask: NDArray[np.bool_], origin: tuple[int, int], size: Size) -> None:
    x, y = origin
    (h, w), (height, width) = mask.shape, size
    inner_sides = {
        "left": (x > 0, mask[:, :1]),
        "top": (y > 0, mask[:1]),
        "right": (x + w < width, mask[:, -1:]),
        "bottom": (y + h < height, mask[-1:]),
    }
    for side, (inside_image, pixels) in inner_sides.items():
        if inside_image and pixels.any():
            raise ValueError(f"the window must leave a pixel of background at its {side} side: grow it")


def _move_back(corners: NDArray[np.int64], side: int, size: Size) -> NDArray[np.int64]:
    height, width = size
    return np.clip(corners, 0, (max(width - side, 0), max(height - side, 0)))


def _move_back_2021(corners: NDArray[np.int64], side: int, size: Size) -> NDArray[np.int64]:
    """As the reference: a box that reaches the last column is put one further to the left than needed."""
    extent = np.array(size[::-1])
    corners = np.maximum(corners, 0)
    return np.where(corners + side >= extent, extent - 1 - side, corners)
