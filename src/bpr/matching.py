"""Which annotated object a predicted mask is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.structures import Prediction, TrueInstance


@dataclass(frozen=True, slots=True)
class Match:
    """Prediction number ``predicted`` of an image stands for its object number ``true`` (both 0-based)."""

    predicted: int
    true: int


def best_truths(
    predicted: Sequence[Prediction], truths: Sequence[TrueInstance], min_iou: float = 0.0
) -> tuple[Match, ...]:
    """The object of highest IoU for each prediction of one image, whatever the others choose (paper, section 4.1).

    The rule: same class, no crowd, IoU above ``min_iou``; of equal IoU, the first object. Several predictions may
    share an object: in training, each shows the network another coarse mask of it.

    Matches come in the order of ``predicted``, without those that overlap no object of their class so much.
    """
    if not truths:
        return ()
    iou = class_iou(predicted, truths)
    best = iou.argmax(axis=1)
    return tuple(Match(n, int(t)) for n, t in enumerate(best) if iou[n, t] > min_iou)


def match_instances(
    predicted: Sequence[Prediction], truths: Sequence[TrueInstance], min_iou: float = 0.5
) -> tuple[Match, ...]:
    """Match the predictions of one image to its objects, each object at most once.

    The rule: within a class, predictions choose in the order of descending score (of equal ones, the first in
    the file); each takes the object of highest mask IoU (of equal ones, the first) among those that are still
    free and no crowd, if that IoU is at least ``min_iou``, in (0, 1]. A prediction that finds none stays unmatched,
    as do duplicates and false positives. Matches come in the order of ``predicted``.
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f"min_iou must be in (0, 1], got {min_iou}")
    if not truths:
        return ()
    iou = class_iou(predicted, truths)
    matches = []
    for number in sorted(range(len(predicted)), key=lambda n: -predicted[n].score):
        best = int(iou[number].argmax())
        if iou[number, best] >= min_iou:
            matches.append(Match(number, best))
            iou[:, best] = -1  # taken
    return tuple(sorted(matches, key=lambda match: match.predicted))


def class_iou(predicted: Sequence[Prediction], truths: Sequence[TrueInstance]) -> NDArray[np.float64]:
    """(n, m) mask IoU of each prediction with each object, or -1 where the classes differ or the object is a crowd."""
    iou = np.full((len(predicted), len(truths)), -1.0)
    for category in {p.category for p in predicted} & {t.category for t in truths if not t.crowd}:
        rows = [n for n, p in enumerate(predicted) if p.category == category]
        columns = [n for n, t in enumerate(truths) if t.category == category and not t.crowd]
        masks, true_masks = [predicted[n].rle for n in rows], [truths[n].rle for n in columns]
        iou[np.ix_(rows, columns)] = rle_codec.iou(masks, true_masks)
    return iou
