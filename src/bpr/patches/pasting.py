"""From patches back to masks: the inverse of `bpr.patches.cutting`."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr.patches.cutting import PlacedMask, resize
from bpr.patches.windows import MaskWindow
from bpr.structures import Boxes, Mask, Probabilities

EMPTIED: Final = "refinement would leave no pixel"
"""Why a mask stays as it came although it went through the network."""


def paste_patches(
    placed: PlacedMask,
    probabilities: Probabilities,
    threshold: float = 0.5,
    keep_emptied: bool = True,
    keep_probabilities: bool = False,
) -> MaskWindow:
    """Turn the patches of one mask into the refined mask.

    Args:
        placed: The mask and its n patches; without any it is returned as it is.
        probabilities: (n, s, s) in [0, 1], foreground, in the order of the boxes; resized to them where s differs.
        threshold: In [0, 1). A pixel is foreground when its mean probability is above this.
        keep_emptied: Leave a mask as it is of which nothing would be left.
        keep_probabilities: Keep the mean probabilities with the mask.

    Raises:
        ValueError: If there is not one patch for each box, or the threshold is out of range.
    """
    mask, boxes = placed
    if len(boxes) == 0:
        return replace(mask, probabilities=mask.mask.astype(np.float32) if keep_probabilities else None)
    patches = resize(probabilities, int(boxes[0, 2] - boxes[0, 0]))
    means = mean_probability(mask.mask, patches, boxes - np.tile(mask.window[:2], 2))
    kept = replace(mask, patches=mask.patches + len(boxes), probabilities=means if keep_probabilities else None)
    refined = np.asarray(means > threshold)
    if keep_emptied and not refined.any():
        return kept.leave(EMPTIED)
    return replace(kept, mask=refined, reason=None)


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
