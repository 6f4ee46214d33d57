"""Which boundary pixels become the centres of patches."""

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.structures import Mask, PatchSpec

Strength: TypeAlias = NDArray[np.uint8]
"""(h, w) uint8 of `bpr.patches.boundary.boundary_strength`; positive on the boundary."""
Centres: TypeAlias = NDArray[np.int64]
"""(n, 2) int64, ``x, y``, px of the array."""


def place_centres(mask: Mask, strength: Strength, spec: PatchSpec) -> Centres:
    """Choose boundary pixels by the method of ``spec``.

    Args:
        mask: (h, w) bool.
        strength: (h, w) uint8, positive on the boundary of the mask, higher where it is split more evenly.
        spec: Method and its settings.

    Returns:
        (n, 2) ``x, y``; n is 0 without boundary.
    """
    if spec.spacing is not None:
        return contour_centres(mask, strength, spec.spacing)
    if spec.nms_iou is not None:
        return nms_centres(strength, spec.size, spec.nms_iou)
    return cover_centres(strength, spec.size, spec.size // 16 if spec.margin is None else spec.margin)


def nms_centres(strength: Strength, side: int, iou: float) -> Centres:
    """Greedy NMS of squares around all boundary pixels (paper, section 3.2); as torchvision's does it in float32.

    Those whose neighbourhood is split most evenly are kept first, ties in row-major order. Which pixels can still be
    chosen is drawn in an array as large as ``strength``: a chosen one clears all those around it whose squares
    overlap too much, in one stamp.

    Args:
        strength: As of `place_centres`.
        side: Of the squares, px.
        iou: A square is dropped when its IoU with a kept one is above this. In (0, 1]; 1 keeps all.

    Returns:
        (n, 2) in the order in which they are kept.
    """
    centres = _boundary_centres(strength)
    left = np.argsort(-strength[centres[:, 1], centres[:, 0]].astype(np.int8), kind="stable")
    if iou >= 1:
        return np.asarray(centres[left])
    stamp, reach = _stays_beside_square(side, iou), side - 1
    height, width = strength.shape
    free = np.ones((height, width), np.bool_)
    flat, places = free.reshape(-1), centres @ (1, width)
    kept = []
    while len(left):
        kept.append(left[0])
        x, y = centres[left[0]].tolist()
        top, start = max(y - reach, 0), max(x - reach, 0)
        around = free[top : y + side, start : x + side]
        around &= stamp[top - y + reach :, start - x + reach :][: around.shape[0], : around.shape[1]]
        left = left[flat[places[left]]]
    return np.asarray(centres[kept])


@lru_cache(maxsize=16)
def _stays_beside_square(side: int, iou: float) -> Mask:
    """(2 side - 1, 2 side - 1) bool: whether a square survives beside one that is kept, by the offset of its centre.

    The middle is the kept one itself, which does not.
    """
    overlap = side - np.abs(np.arange(1 - side, side)).astype(np.float32)
    intersection = overlap[:, None] * overlap[None, :]
    ratio = intersection / (np.float32(2 * side * side) - intersection)
    stays: Mask = ratio.astype(np.float64) <= iou
    stays[side - 1, side - 1] = False
    return stays


def contour_centres(mask: Mask, strength: Strength, spacing: int) -> Centres:
    """Go along every outline, of holes too, and take a pixel every ``spacing`` px of arc length, evenly on each.

    Args:
        mask: As of `place_centres`.
        strength: As of `place_centres`; where it is 0, an outline is none (along the border of the image).
        spacing: px between centres, at most; steps to the side count 1, diagonal ones the square root of 2.

    Returns:
        (n, 2), outline by outline; at least one on each.
    """
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    found = [np.zeros((0, 2), np.int64)]
    for outline in outlines:
        points = outline.reshape(-1, 2)
        points = points[strength[points[:, 1], points[:, 0]] > 0]
        if len(points):
            steps = np.hypot(*np.diff(points, axis=0, prepend=points[-1:]).T)
            length = np.cumsum(np.where(steps < 2, steps, 0))  # longer ones jump over what is no boundary
            count = max(1, int(np.ceil(length[-1] / spacing)))
            found.append(points[np.searchsorted(length, (np.arange(count) + 0.5) * length[-1] / count)])
    return np.concatenate(found).astype(np.int64)


def cover_centres(strength: Strength, side: int, margin: int) -> Centres:
    """Cover every boundary pixel with as few squares as a greedy choice needs.

    Again and again the boundary pixel is taken whose square, less ``margin`` px at each side, holds most of the
    boundary that is not covered yet; ties in row-major order.

    Args:
        strength: As of `place_centres`.
        side: Of the squares, px.
        margin: px; each boundary pixel then has so much around it in the patch that covers it.

    Returns:
        (n, 2) in the order in which they are chosen.
    """
    centres = _boundary_centres(strength)
    reach = side // 2 - margin
    still_open = (strength > 0).view(np.uint8)
    gains = _window_sums(still_open, reach)
    flat, places = gains.reshape(-1), centres @ (1, strength.shape[1])
    kept = []
    while len(centres):
        gain_of_centres = flat[places]
        best = int(gain_of_centres.argmax())
        if gain_of_centres[best] == 0:
            break
        kept.append(best)
        x, y = centres[best].tolist()
        still_open[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach] = 0
        left, top = max(x - 2 * reach, 0), max(y - 2 * reach, 0)  # only so far away are windows that have changed
        outer = np.s_[max(top - reach, 0) : y + 3 * reach, max(left - reach, 0) : x + 3 * reach]
        around = _window_sums(still_open[outer], reach)
        part = gains[top : y + 2 * reach, left : x + 2 * reach]
        part[:] = around[top - outer[0].start :, left - outer[1].start :][: part.shape[0], : part.shape[1]]
    return np.asarray(centres[kept])


def _window_sums(values: NDArray[np.uint8], reach: int) -> NDArray[np.int32]:
    """For each pixel, the sum of ``values`` in [-reach, reach) around it, along both axes."""
    size, anchor = (2 * reach, 2 * reach), (reach, reach)
    return np.asarray(cv2.boxFilter(values, cv2.CV_32S, size, None, anchor, False, cv2.BORDER_CONSTANT))


def _boundary_centres(strength: Strength) -> Centres:
    """All boundary pixels in row-major order."""
    found = cv2.findNonZero(strength)
    return np.zeros((0, 2), np.int64) if found is None else found.reshape(-1, 2).astype(np.int64)
