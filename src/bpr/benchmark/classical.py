"""Refiners of masks without a network, to compare with: GrabCut, and the guided filter."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.patches.windows import working_window
from bpr.structures import Image, Mask, Window

BAND: Final = 4
"""px on both sides of the boundary of a mask within which it may move."""
_ITERATIONS: Final = 3
_RADIUS: Final = 8
_REGULARISATION: Final = 1e-3


def grab_cut(image: Image, mask: Mask, box: Window) -> Mask:
    """Refine a mask by GrabCut (Rother et al., SIGGRAPH 2004): colours of both sides, and a cut at edges.

    Args:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool.
        box: Its bounding box.

    Returns:
        (h, w) bool; it differs from ``mask`` within `BAND` px of its boundary only.
    """
    part = _around(box, mask)
    given, unsure = mask[part], _band(mask[part])
    labels: NDArray[Any] = np.where(
        unsure, np.where(given, cv2.GC_PR_FGD, cv2.GC_PR_BGD), np.where(given, cv2.GC_FGD, cv2.GC_BGD)
    )
    labels = labels.astype(np.uint8)
    models: list[Any] = [np.zeros((1, 65)), np.zeros((1, 65))]
    if {0, 1} <= set(np.unique(labels & 1).tolist()):
        cv2.grabCut(
            np.ascontiguousarray(image[part]),
            labels,
            (0, 0, 0, 0),
            models[0],
            models[1],
            _ITERATIONS,
            cv2.GC_INIT_WITH_MASK,
        )
    return _put(mask, part, (labels & 1).astype(np.bool_), unsure)


def guided_filter(image: Image, mask: Mask, box: Window) -> Mask:
    """Refine a mask by the guided filter (He et al., ECCV 2010, equations 5 to 8), led by the grey image.

    Arguments and result are as of `grab_cut`.
    """
    part = _around(box, mask)
    guide = cv2.cvtColor(np.ascontiguousarray(image[part]), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    values = mask[part].astype(np.float32)
    guide_mean, mean = _mean(guide), _mean(values)
    slope = (_mean(guide * values) - guide_mean * mean) / (_mean(guide * guide) - guide_mean**2 + _REGULARISATION)
    filtered = _mean(slope) * guide + _mean(mean - slope * guide_mean)
    return _put(mask, part, filtered > 0.5, _band(mask[part]))


def _around(box: Window, mask: Mask) -> tuple[slice, slice]:
    x1, y1, x2, y2 = working_window(box, (mask.shape[0], mask.shape[1]), 2 * BAND + _RADIUS)
    return slice(y1, y2), slice(x1, x2)


def _band(mask: Mask) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND + 1, 2 * BAND + 1))
    grown, shrunk = (how(mask.view(np.uint8), kernel) for how in (cv2.dilate, cv2.erode))
    return np.asarray(grown != shrunk)


def _mean(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.blur(values, (2 * _RADIUS + 1, 2 * _RADIUS + 1)))


def _put(mask: Mask, part: tuple[slice, slice], found: Mask, where: Mask) -> Mask:
    refined = mask.copy()
    refined[part] = np.where(where, found, mask[part])
    return refined if refined.any() else mask
