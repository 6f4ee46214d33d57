"""From masks to patches: where they lie, and cutting them out."""

import math
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.patches.boundary import boundary_strength
from bpr.patches.placement import place_centres
from bpr.patches.trust import TRUSTED
from bpr.patches.windows import EMPTY, LOW_SCORE, MaskWindow, bounding_box
from bpr.structures import Boxes, Image, Mask, PatchSpec, Round, Size

Value = TypeVar("Value", bound=np.generic)

OBJECT_SIDES: Final = (32, 512)
"""Smallest and largest side of the patches of `Round.object`, px."""
OBJECT_NMS_IOU: Final = 0.1
"""The highest ``PatchSpec.nms_iou`` in `Round.object`: the round after it looks at every boundary again."""


class Crops(NamedTuple):
    """n patches as the network sees them: (n, s, s, 3) uint8 RGB, and (n, s, s) bool masks."""

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]


class PlacedMask(NamedTuple):
    """A mask in the window that its patches can touch.

    Attributes:
        mask: In that window.
        boxes: (n, 4) of its patches, all of one size, image px.
        kind: Round that they were placed for.
    """

    mask: MaskWindow
    boxes: Boxes
    kind: Round = Round.boundary

    @property
    def side(self) -> int:
        """Of the patches, px; 0 where there are none."""
        return int(self.boxes[0, 2] - self.boxes[0, 0]) if len(self.boxes) else 0


def place_patches(mask: MaskWindow, kind: Round, spec: PatchSpec, size: Size) -> PlacedMask:
    """Place the patches of one mask for one round.

    Args:
        mask: May be empty.
        kind: The round, which decides the side of the patches.
        spec: How patches are placed.
        size: (h, w) of the image, px.

    Returns:
        The mask in the window of its patches, with these; where there are none, the mask says why
        (`MaskWindow.reason`), unless an earlier round has refined it.
    """
    if mask.reason in (TRUSTED, LOW_SCORE) or (mask.settled and kind is Round.boundary):
        return PlacedMask(mask, np.zeros((0, 4), np.int64), kind)
    side = spec.size if kind is Round.boundary else object_side(mask.mask)
    fitted = mask.fit(side, size)
    if fitted.window == EMPTY:
        return PlacedMask(fitted.leave("empty mask"), np.zeros((0, 4), np.int64), kind)
    own = replace(spec, size=side, margin=None if spec.margin is None else min(spec.margin, side // 2 - 1))
    if kind is Round.object and own.nms_iou is not None:
        own = replace(own, nms_iou=min(own.nms_iou, OBJECT_NMS_IOU))
    boxes = propose_boxes(fitted.mask, own, fitted.window[:2], size)
    if len(boxes) == 0:
        too_small = spec.compat_2021 and min(size) <= side
        reason = "image not larger than a patch (compat_2021)" if too_small else "no boundary inside the image"
        return PlacedMask(fitted.leave(reason), boxes, kind)
    return PlacedMask(fitted, boxes, kind)


def object_side(mask: Mask) -> int:
    """Side of the patches of `Round.object`: the geometric mean of the box's sides, even, in `OBJECT_SIDES`."""
    x1, y1, x2, y2 = bounding_box(mask)
    return min(max(2 * round(math.sqrt((x2 - x1) * (y2 - y1)) / 2), OBJECT_SIDES[0]), OBJECT_SIDES[1])


def cut_patches(image: Image, placed: PlacedMask, side: int) -> Crops:
    """Cut the patches of a mask out of the image and out of the mask.

    Args:
        image: (h, w, 3) uint8 RGB.
        placed: The mask and its patches, at least one.
        side: Of the crops, px; patches of another side are resized to it.

    Returns:
        The crops, in the order of the boxes.
    """
    mask, boxes, _ = placed
    images, masks = crop(image, boxes), crop(mask.mask, boxes - np.tile(mask.window[:2], 2))
    return Crops(resize(images, side), resize_masks(masks, side))


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


def crop(array: NDArray[Value], boxes: Boxes) -> NDArray[Value]:
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


def resize(patches: NDArray[Value], side: int) -> NDArray[Value]:
    """(n, s, s, ...) patches at another side, px: by area where they shrink, bilinear where they grow."""
    if len(patches) == 0 or patches.shape[1] == side:
        return patches
    how = cv2.INTER_AREA if patches.shape[1] > side else cv2.INTER_LINEAR
    return np.stack([cv2.resize(patch, (side, side), interpolation=how) for patch in patches])


def resize_masks(masks: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """(n, s, s) masks at another side, px, where at least half of a pixel is foreground."""
    return masks if masks.shape[1] == side else resize(masks * np.uint8(255), side) > 127


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
