"""From patches back to masks: the inverse of `bpr.patches.cutting`."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr.patches.cutting import PlacedMask, resize
from bpr.patches.trust import TRUSTED, Evidence, gather_evidence, is_trusted
from bpr.patches.windows import MaskWindow, mask_iou
from bpr.structures import Boxes, Probabilities, Round, Size

EMPTIED: Final = "refinement would leave no pixel"
"""Why a mask stays as it came although it went through the network."""
CLOSE: Final = 0.97
"""IoU of a mask before and after `Round.object` above which the boundary is left to the rounds that follow."""
SETTLED: Final = 0.95
"""IoU of a mask before and after `Round.boundary` above which a further one passes it by."""


def paste_patches(
    placed: PlacedMask,
    probabilities: Probabilities,
    threshold: float = 0.5,
    keep_emptied: bool = True,
    keep_probabilities: bool = False,
    last: bool = True,
    taper: float = 0,
) -> MaskWindow:
    """Turn the patches of one mask into the refined mask.

    Args:
        placed: The mask and its n patches; without any it is returned as it is.
        probabilities: (n, s, s) in [0, 1], foreground, in the order of the boxes; resized to them where s differs. With
            trust, (n, 2, s, s), a mask that no round has refined yet stays as it is where it is trusted.
        threshold: In [0, 1). A pixel is foreground when its mean probability is above this.
        keep_emptied: Leave a mask as it is of which nothing would be left; the 2021 code wrote an empty one.
        keep_probabilities: Keep the mean probabilities with the mask.
        last: Whether no round follows. Else `Round.object` leaves a mask that it trusts, or would hardly change
            (`CLOSE`), to the next round, whose patches show its boundary larger.
        taper: As of `bpr.structures.PatchSpec`.

    Raises:
        ValueError: If there is not one patch for each box, or the threshold is out of range.
    """
    mask, boxes, kind = placed
    if len(boxes) == 0:
        if keep_probabilities and mask.probabilities is None:
            return replace(mask, probabilities=mask.mask.astype(np.float32))
        return mask if keep_probabilities else replace(mask, probabilities=None)
    means, evidence = read_answers(placed, probabilities, taper)
    kept = replace(mask, patches=mask.patches + len(boxes), probabilities=means if keep_probabilities else None)
    first_look = kind is Round.object and not last
    if mask.reason is not None and is_trusted(evidence):
        return kept if first_look else kept.leave(TRUSTED)
    refined = np.asarray(means > threshold)
    if keep_emptied and not refined.any():
        return kept.leave(EMPTIED)
    if first_look and mask_iou(mask.mask, refined) > CLOSE:
        return kept
    settled = mask.settled or (kind is Round.boundary and mask_iou(mask.mask, refined) > SETTLED)
    return replace(kept, mask=refined, reason=None, settled=settled)


def read_answers(
    placed: PlacedMask, answers: Probabilities, taper: float = 0
) -> tuple[NDArray[np.float32], Evidence | None]:
    """Join the network's answers on the patches of one mask.

    Args:
        placed: The mask and its n patches, n >= 1.
        answers: (n, s, s), or with trust (n, 2, s, s), as of `paste_patches`.
        taper: As of `bpr.structures.PatchSpec`.

    Returns:
        (h, w) float32 in [0, 1], mean probability of foreground; 0 or 1 outside of the patches, as the mask says. And
        what speaks for and against keeping the mask, if the network has trust.
    """
    mask, boxes, _ = placed
    side, local = placed.side, boxes - np.tile(mask.window[:2], 2)
    outside = mask.mask.astype(np.float32)
    if answers.ndim == 3:
        return mean_of_patches(resize(answers, side), local, outside, taper), None
    probability, trust = (resize(answers[:, channel], side) for channel in range(2))
    means = mean_of_patches(probability, local, outside, taper)
    trusted = mean_of_patches(trust, local, np.full(means.shape, np.nan, np.float32), taper)
    return means, gather_evidence(mask.mask, means, trusted, side)


def mean_of_patches(
    patches: Probabilities, boxes: Boxes, outside: NDArray[np.float32], taper: float = 0
) -> NDArray[np.float32]:
    """The mean of the patches that cover each pixel, summed in their order in float32 as the 2021 code does.

    Args:
        patches: (n, s, s) values.
        boxes: (n, 4) xyxy, half-open, px of ``outside``; parts outside of it are ignored.
        outside: (h, w) what stands outside of all boxes; not modified.
        taper: As of `bpr.structures.PatchSpec`.

    Returns:
        (h, w) float32.

    Raises:
        ValueError: If a patch does not have the size of its box.
    """
    if len(patches) != len(boxes):
        raise ValueError(f"{len(patches)} patches, but {len(boxes)} boxes")
    height, width = outside.shape
    total = np.zeros(outside.shape, np.float32)
    count = np.zeros(outside.shape, np.float32)
    weights = _weights(patches.shape[1:], taper)
    for patch, (x1, y1, x2, y2) in zip(patches, boxes.tolist(), strict=True):
        if patch.shape != (y2 - y1, x2 - x1):
            raise ValueError(f"a patch of {patch.shape} (h, w) does not fit its box {[x1, y1, x2, y2]}")
        rows, columns = slice(max(y1, 0), min(y2, height)), slice(max(x1, 0), min(x2, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        inside = slice(rows.start - y1, rows.stop - y1), slice(columns.start - x1, columns.stop - x1)
        total[rows, columns] += weights[inside] * patch[inside]
        count[rows, columns] += weights[inside]
    return np.divide(total, count, out=outside.copy(), where=count > 0)


def _weights(size: Size, taper: float) -> NDArray[np.float32]:
    """How much each pixel of a patch counts: 1, but less where an edge is nearer than ``taper`` times the side."""
    lines = []
    for side in size:
        distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
        reach = max(taper * side, 0.5)
        lines.append(np.minimum(distance, reach) / reach)
    return np.minimum.outer(*lines).astype(np.float32)
