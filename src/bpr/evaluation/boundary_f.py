"""Boundary F of an instance: how much of the contours of two masks lies close to each other.

``val/boundary_f`` of a training (`bpr.models.metrics`) is another figure: the pooled patch boundary F, over the pixels
of all validation patches, within a chessboard distance.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.patches.boundary import inner_boundary
from bpr.patches.windows import working_window
from bpr.structures import Mask, Rle, Size


def boundary_tolerance(size: Size) -> int:
    """Distance up to which boundary pixels agree, px: 0.00088 of the diagonal of an image of ``size``, rounded up.

    The ratio is the strictest of Takikawa et al. (Gated-SCNN, ICCV 2019): 3 px for Cityscapes' 1024 x 2048, and
    1 px for most images of COCO.
    """
    return math.ceil(0.00088 * math.hypot(*size))


def boundary_f(predicted: Mask, true: Mask, tolerance: float) -> float:
    """F-measure of the boundary pixels of two masks, (h, w) bool, ``2 P R / (P + R)``.

    ``P`` is the share of the predicted boundary pixels that have a true one within ``tolerance`` px (Euclidean),
    ``R`` the share of the true ones that have a predicted one (Martin et al., PAMI 2004; as simplified by
    Perazzi et al., CVPR 2016: every pixel may be counted by several others).

    The boundary pixels of a mask are its own pixels with a background 4-neighbour. The border of the image is
    no boundary: where a mask is cut off by it, there is nothing to predict.

    Returns:
        In [0, 1]; symmetric in the masks. If only one mask has a boundary (the other is empty or covers the
        image), 0. If none has: 1 for equal masks, else 0.

    Raises:
        ValueError: If the masks differ in shape, or the tolerance is negative.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"the masks must have one shape, got {predicted.shape} and {true.shape}")
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0 px, got {tolerance}")
    predicted_boundary, true_boundary = inner_boundary(predicted), inner_boundary(true)
    if not predicted_boundary.any() and not true_boundary.any():
        return float(np.array_equal(predicted, true))
    offsets = np.arange(-math.floor(tolerance), math.floor(tolerance) + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= tolerance**2).astype(np.uint8)
    precision = _share_near(predicted_boundary, true_boundary, disk)
    recall = _share_near(true_boundary, predicted_boundary, disk)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_f_of_rles(predicted: Rle, true: Rle, tolerance: float | None = None) -> float:
    """`boundary_f` of two masks of one size, decoded only where one of them has foreground.

    ``tolerance``, px, is by default the `boundary_tolerance` of their size. `ValueError` if the sizes differ.
    """
    if predicted["size"] != true["size"]:
        raise ValueError(f"the masks must have one size, got {predicted['size']} and {true['size']}")
    size: Size = (true["size"][0], true["size"][1])
    # One pixel more inside of the image: the window then ends in background, and no boundary pixel is outside.
    window = working_window(rle_codec.common_box([predicted, true]), size, 1)
    radius = boundary_tolerance(size) if tolerance is None else tolerance
    return boundary_f(rle_codec.decode(predicted, window), rle_codec.decode(true, window), radius)


def _share_near(boundary: Mask, other: Mask, disk: NDArray[np.uint8]) -> float:
    if not boundary.any() or not other.any():
        return 0.0
    return float(cv2.dilate(other.astype(np.uint8), disk)[boundary].mean())
