"""From patches back to a mask: the inverse of `bpr.patches`."""

import numpy as np

from bpr.structures import Boxes, Mask, Probabilities


def paste(coarse: Mask, probabilities: Probabilities, boxes: Boxes, threshold: float = 0.5) -> Mask:
    """Overwrite ``coarse`` inside ``boxes`` with the mean of the patches that cover each pixel.

    Paper, section 3.3: overlapping patches are averaged with equal weight, then thresholded.

    Args:
        coarse: (h, w) bool; not modified.
        probabilities: (n, s, s) in [0, 1], foreground.
        boxes: (n, 4) xyxy, half-open, px of ``coarse``; parts outside of it are ignored.
        threshold: A pixel is foreground when its mean probability is above this.

    Returns:
        (h, w) bool, equal to ``coarse`` outside all boxes (everywhere, if n is 0).

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
    return np.where(count > 0, total > threshold * count, coarse)
