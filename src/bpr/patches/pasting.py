"""From patches back to a mask: the inverse of `bpr.patches.cutting`."""

import numpy as np
from numpy.typing import NDArray

from bpr.structures import Boxes, Mask, Probabilities


def paste(coarse: Mask, probabilities: Probabilities, boxes: Boxes, threshold: float = 0.5) -> Mask:
    """Overwrite ``coarse`` inside ``boxes`` with the mean of the patches that cover each pixel.

    Args:
        coarse: (h, w) bool; not modified.
        probabilities: (n, s, s) in [0, 1], foreground.
        boxes: (n, 4) xyxy, half-open, px of ``coarse``; parts outside of it are ignored.
        threshold: In [0, 1). A pixel is foreground when its mean probability is above this.

    Returns:
        (h, w) bool, equal to ``coarse`` outside all boxes (everywhere, if n is 0).

    Raises:
        ValueError: If a patch does not have the size of its box, or the threshold is out of range.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    return np.asarray(mean_probability(coarse, probabilities, boxes) > threshold)


def mean_probability(coarse: Mask, probabilities: Probabilities, boxes: Boxes) -> NDArray[np.float32]:
    """The mean of the patches that cover each pixel, summed in their order in float32 as the 2021 code does.

    Args:
        coarse: (h, w) bool; not modified.
        probabilities: (n, s, s) in [0, 1], foreground.
        boxes: (n, 4) xyxy, half-open, px of ``coarse``; parts outside of it are ignored.

    Returns:
        (h, w) float32 in [0, 1]; 0 or 1 outside all boxes, as ``coarse`` says.

    Raises:
        ValueError: If a patch does not have the size of its box.
    """
    if len(probabilities) != len(boxes):
        raise ValueError(f"{len(probabilities)} patches, but {len(boxes)} boxes")
    height, width = coarse.shape
    total = np.zeros(coarse.shape, np.float32)
    count = np.zeros(coarse.shape, np.float32)
    for patch, (x1, y1, x2, y2) in zip(probabilities, boxes.tolist(), strict=True):
        if patch.shape != (y2 - y1, x2 - x1):
            raise ValueError(f"a patch of {patch.shape} (h, w) does not fit its box {[x1, y1, x2, y2]}")
        rows, columns = slice(max(y1, 0), min(y2, height)), slice(max(x1, 0), min(x2, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        total[rows, columns] += patch[rows.start - y1 : rows.stop - y1, columns.start - x1 : columns.stop - x1]
        count[rows, columns] += 1
    return np.divide(total, count, out=coarse.astype(np.float32), where=count > 0)
