"""Which pixels are the boundary of a mask."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.structures import Mask


def boundary_strength(mask: Mask, image_border: bool = False) -> NDArray[np.uint8]:
    """How evenly the 3x3 neighbourhood of each pixel is split between foreground and background.

    With ``c`` foreground pixels among the nine, the strength is ``min(c, 9 - c)``: 0 inside and outside of
    the mask, up to 4 on both sides of its boundary. This is 4.5 times the score by which the 2021 code ranks
    the candidates of its NMS.

    Args:
        mask: (h, w) bool; not modified.
        image_border: Count what is beyond the array as background, so that a mask that is cut off by the
            border has a boundary there. By default the outermost pixels are repeated, and it has none.

    Returns:
        (h, w) uint8 in 0..4; empty in, empty out.
    """
    if mask.size == 0:
        return np.zeros(mask.shape, np.uint8)
    border = cv2.BORDER_CONSTANT if image_border else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, border, value=0)
    count = cv2.boxFilter(padded, cv2.CV_8U, (3, 3), normalize=False)[1:-1, 1:-1]
    return np.minimum(count, 9 - count)


def inner_boundary(mask: Mask) -> Mask:
    """Mark the foreground pixels that have a background 4-neighbour; beyond the array there is none.

    Returns:
        (h, w) bool; all false for an empty and for a full mask.
    """
    if mask.size == 0:
        return np.zeros(mask.shape, np.bool_)
    eroded = cv2.erode(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    return np.asarray(mask & (eroded == 0))


def boundary_band(mask: Mask, width: int) -> Mask:
    """Mark the pixels within ``width`` px (Euclidean) of the boundary, on both sides of it.

    A foreground pixel is in the band when a background pixel is at most ``width`` px away, and the reverse.
    The border of the array is no boundary.

    Args:
        mask: (h, w) bool; not modified.
        width: px, >= 1; 1 gives the pixels that have a 4-neighbour on the other side.

    Returns:
        (h, w) bool; all false for an empty or a full mask.

    Raises:
        ValueError: If ``width`` is below 1.
    """
    if width < 1:
        raise ValueError(f"width of the band must be at least 1 px, got {width}")
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.bool_)
    inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(inside + outside <= width)
