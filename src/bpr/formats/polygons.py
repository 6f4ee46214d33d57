"""Polygons around masks, such that `bpr.rle.from_segmentation` draws the same masks again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.cli.command import counted
from bpr.structures import Rle

Shape = TypeVar("Shape")

_FEWEST_POINTS: Final = 3


def trace(rle: Rle, tolerance: float = 0.0, whole: bool = False) -> tuple[list[list[float]], int]:
    """Trace the outlines of a mask, holes filled, which COCO polygons cannot hold.

    Corners lie in the middle of pixel edges, where pixel (0, 0) extends from 0 to 1. COCO draws, in the middle of each
    column of pixels, what is between the crossings of the outline, and there these are on pixel edges: without a
    tolerance, drawing gives the mask exactly. Polygons do not cross themselves or each other; pixels that touch at a
    corner are in one polygon.

    Args:
        rle: The mask.
        tolerance: px by which an outline may move to save corners (Douglas-Peucker); 0 only merges straight lines.
        whole: Follow the edges of pixels instead, whose corners are whole numbers; they are many more.

    Returns:
        A polygon, flat ``[x, y, x, y, ...]``, px, for each part, and the number of holes.
    """
    from skimage.measure import find_contours  # half a second

    x1, y1, x2, y2 = window = rle_codec.bounding_box(rle)
    mask = rle_codec.decode(rle, window).view(np.uint8)
    contours, relations = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = 0 if relations is None else int((relations[0, :, 3] >= 0).sum())
    filled = np.zeros((y2 - y1 + 2, x2 - x1 + 2), np.uint8)
    outer = [contour for number, contour in enumerate(contours) if relations[0, number, 3] < 0]
    cv2.drawContours(filled, outer, -1, 1, cv2.FILLED, offset=(1, 1))
    outlines = find_contours(filled.astype(np.float64), 0.5, fully_connected="high")  # type: ignore[no-untyped-call]
    placed = [outline[:-1, ::-1] - 0.5 + (x1, y1) for outline in outlines]
    polygons = [_thinned(_along_pixels(outline) if whole else outline, tolerance) for outline in placed]
    return [polygon.ravel().tolist() for polygon in polygons], holes


def trace_joined(rle: Rle, tolerance: float = 0.0) -> tuple[list[float], int]:
    """As `trace`, but one polygon for all parts of a mask, which must not be empty.

    From each part, the polygon goes on to the next one where both are nearest, and comes back on the same way: drawn
    as COCO does, the bridge has no pixel.
    """
    from scipy.spatial import KDTree  # a tenth of a second

    polygons, holes = trace(rle, tolerance)
    first, *others = (np.reshape(polygon, (-1, 2)) for polygon in polygons)
    joined = first
    for part in others:
        distances, nearest = KDTree(joined).query(part)
        start = int(np.argmin(distances))
        leave, rolled = int(nearest[start]), np.roll(part, -start, axis=0)
        joined = np.concatenate([joined[: leave + 1], rolled, rolled[:1], joined[leave:]])
    return joined.ravel().tolist(), holes


@dataclass
class Losses:
    """What polygons could not hold: holes by place, and by place the IoU that was lost."""

    holes: dict[str, int] = field(default_factory=dict)
    iou: dict[str, float] = field(default_factory=dict)

    def add(self, where: str, holes: int, meant: Rle, written: Rle) -> None:
        """Count the holes of a mask, and compare it with the polygons that were written for it."""
        if holes:
            self.holes[where] = holes
        self.iou[where] = 1 - float(rle_codec.iou([meant], [written])[0, 0])

    def notes(self) -> tuple[str, ...]:
        """What was lost, for the user, a line each; none if nothing was."""
        notes = []
        if self.holes:
            holes, masks = counted(sum(self.holes.values()), "hole"), counted(len(self.holes), "mask")
            notes.append(f"{holes} in {masks} filled, since polygons cannot hold them")
        if any(self.iou.values()):
            mean, worst = sum(self.iou.values()) / len(self.iou), max(self.iou, key=self.iou.__getitem__)
            lost = f"mean {mean:.4f}, worst {self.iou[worst]:.4f} ({worst})"
            notes.append(f"IoU lost by writing {counted(len(self.iou), 'mask')} as polygons: {lost}")
        return tuple(notes)


def with_mask(
    shape: Shape,
    mask: Rle,
    draw: Callable[[Shape], Rle],
    replace: Callable[[Shape, list[float]], Shape],
    tolerance: float,
    losses: Losses,
    where: str,
) -> Shape:
    """A shape that is one polygon, with that of another mask; as it is, the same object, if it draws this one.

    Args:
        shape: The shape, in whatever form its file has it.
        mask: The other mask.
        draw: Gives the mask of a shape.
        replace: Gives the shape with another polygon, as of `trace_joined`.
        tolerance: As of `trace`.
        losses: Takes what the new polygon cannot hold.
        where: The place of the shape, for ``losses``.
    """
    before = draw(shape)
    if rle_codec.is_same(before, mask):
        return shape
    polygon, holes = trace_joined(mask, tolerance)
    new = replace(shape, polygon)
    written = draw(new)
    losses.add(where, holes, mask, written)
    return shape if rle_codec.is_same(before, written) else new


def _along_pixels(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, 2) x, y, corners of pixels: where an outline, given by the middles of all its edges, turns."""
    after = np.roll(outline, -1, axis=0)
    corners: NDArray[np.float64] = np.where(outline == np.rint(outline), outline, after)
    return np.asarray(corners[(outline != after).all(axis=1)])


def _thinned(outline: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """(n, 2) x, y, without points on a straight line; as they are if fewer than three would be left."""
    after = np.roll(outline, -1, axis=0) - outline
    before = np.roll(after, 1, axis=0)
    exact: NDArray[np.float64] = outline[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    if not tolerance:
        return exact
    thinned = np.asarray(cv2.approxPolyDP(exact.astype(np.float32)[:, None], tolerance, closed=True)[:, 0], np.float64)
    return thinned if len(thinned) >= _FEWEST_POINTS else exact
