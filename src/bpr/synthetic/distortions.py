"""What distorts a mask: each a function of (h, w) bool masks, which are not modified; all distances are in px."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.structures import Mask

_Distance = NDArray[np.float32]


def polygon_mask(mask: Mask, tolerance: float, shake: float = 0.0, rng: np.random.Generator | None = None) -> Mask:
    """The mask as a person would click it: its outlines thinned, filled anew; holes are kept.

    Args:
        mask: (h, w) bool; not modified.
        tolerance: px that the thinned outline may be off (Douglas & Peucker, 1973); >= 0.
        shake: Standard deviation of the place of each vertex, px.
        rng: Source of the shaking; may be None without.

    Returns:
        (h, w) bool.
    """
    holes = _outlined(mask, 0.0) & ~mask
    return _outlined(mask, tolerance, shake, rng) & ~_outlined(holes, tolerance, shake, rng)


def _outlined(mask: Mask, tolerance: float, shake: float = 0.0, rng: np.random.Generator | None = None) -> Mask:
    """Each part within its outer outline, thinned and shaken."""
    drawn = np.zeros(mask.shape, np.uint8)
    for outline in cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        points = cv2.approxPolyDP(outline, tolerance, closed=True)
        if rng is not None:
            points = np.rint(points + rng.normal(0, shake, points.shape)).astype(np.int32)
        cv2.fillPoly(drawn, [points], 1)
    return drawn.view(np.bool_)


def displaced(mask: Mask, deviation: float, rng: np.random.Generator) -> Mask:
    """Every pixel taken from nearby, by a smooth field with a deviation of about ``deviation`` px."""
    height, width = mask.shape
    wavelength = max(8.0, float(np.sqrt(mask.sum())) * rng.uniform(0.15, 0.6))
    nodes = (int(height / wavelength) + 2, int(width / wavelength) + 2, 2)
    at_nodes = 1.3 * deviation * rng.standard_normal(nodes)  # interpolation takes a quarter of it away
    field = cv2.resize(at_nodes.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(
        mask.astype(np.float32),
        columns + field[..., 0],
        rows + field[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved > 0.5)


def without_thin_parts(mask: Mask, share: float) -> Mask:
    """Morphological opening by a disc of ``share`` of the thickest part's radius."""
    inside = distance_to(~mask)
    radius = share * float(inside[mask].max())
    return mask & (distance_to(inside > radius) <= radius)


def closed(mask: Mask, radius: float) -> Mask:
    """Morphological closing by a disc of ``radius`` px: holes and inlets are filled."""
    grown = distance_to(mask) <= radius
    return mask | (distance_to(~grown) > radius)


def blob(mask: Mask, radius: float, rng: np.random.Generator) -> Mask:
    """An ellipse of about ``radius`` px around a random pixel of the mask's inner boundary."""
    rows, columns = np.nonzero(mask & (distance_to(~mask) <= 1))
    if len(rows) == 0:  # the mask fills the array
        return np.zeros_like(mask)
    at = rng.integers(len(rows))
    longer, shorter = radius * rng.uniform(1, 1.6), radius * rng.uniform(0.6, 1)
    blob = np.zeros(mask.shape, np.uint8)
    axes = (max(1, round(longer)), max(1, round(shorter)))
    cv2.ellipse(blob, (int(columns[at]), int(rows[at])), axes, rng.uniform(0, 180), 0, 360, 1, -1)
    return blob.view(np.bool_)


def distance_to(mask: Mask) -> _Distance:
    """Distance of each pixel to the nearest of the mask, px; infinite if it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    outside = (~mask).view(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


def signed_distance(mask: Mask) -> _Distance:
    """Distance to the boundary, px, positive inside; it is half a pixel from the pixels beside it."""
    return np.where(mask, distance_to(~mask) - np.float32(0.5), np.float32(0.5) - distance_to(mask))


def keep_foreground(changed: Mask, mask: Mask) -> Mask:
    """The changed mask, or the other one if nothing is left of it."""
    return changed if changed.any() else mask
