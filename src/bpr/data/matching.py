"""Which annotated object a predicted mask means."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bpr import rle
from bpr.structures import CoarseInstance, TrueInstance


def match_truths(
    instances: Sequence[CoarseInstance], truths: Sequence[TrueInstance], min_iou: float = 0.5
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Match every prediction to the object of its class that it overlaps most (paper, section 4.1).

    Several predictions may match one object: each shows the network another coarse mask of it. Crowd regions
    are never matched.

    Args:
        instances: n predictions of one image.
        truths: Objects annotated in it.
        min_iou: IoU must be above this.

    Returns:
        (n,) index into ``truths``, -1 where nothing matches, and (n,) the IoU (0 where nothing overlaps).
    """
    matched = np.full(len(instances), -1, np.int64)
    best = np.zeros(len(instances))
    for category in sorted({instance.category for instance in instances}):
        rows = [i for i, instance in enumerate(instances) if instance.category == category]
        columns = [j for j, t in enumerate(truths) if t.category == category and not t.crowd]
        if not columns:
            continue
        ious = rle.iou([instances[i].rle for i in rows], [truths[j].rle for j in columns])
        best[rows] = ious.max(axis=1)
        matched[rows] = np.where(best[rows] > min_iou, np.array(columns)[ious.argmax(axis=1)], -1)
    return matched, best
