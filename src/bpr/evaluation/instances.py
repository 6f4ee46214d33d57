"""Mask IoU and boundary F of matched instances, and how many of them a refinement made better or worse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.evaluation.boundary_f import boundary_f_of_rles
from bpr.evaluation.images import EvaluatedImage
from bpr.matching import Match, match_instances

UNCHANGED = 0.001
"""A score that changes by at most this counts as unchanged."""


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Scores of the matched instances, image by image.

    Attributes:
        position: (n,) index of the prediction in its results file.
        true: (n,) index of the object among those of its image.
        iou: (n,) mask IoU, in [0, 1].
        boundary_f: (n,) boundary F, in [0, 1].
    """

    position: NDArray[np.int64]
    true: NDArray[np.int64]
    iou: NDArray[np.float64]
    boundary_f: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the matched instances, in [0, 1]; they add up to 1, or to 0 if nothing is matched."""

    better: float
    worse: float
    unchanged: float


def match_all(images: Sequence[EvaluatedImage], min_iou: float = 0.5) -> list[tuple[Match, ...]]:
    """`match_instances` of each image."""
    return [match_instances(image.predicted, image.truths, min_iou) for image in images]


def score_matches(images: Sequence[EvaluatedImage], matches: Sequence[tuple[Match, ...]]) -> InstanceScores:
    """Score the matched masks of each image.

    Args:
        images: Predictions and objects; may be other masks of the predictions that were matched.
        matches: For each image, pairs of its predictions and objects.
    """
    position, iou, f = [], [], []
    for image, pairs in zip(images, matches, strict=True):
        for pair in pairs:
            predicted, true = image.predicted[pair.predicted].rle, image.truths[pair.true].rle
            position.append(image.predicted[pair.predicted].position)
            iou.append(float(rle_codec.iou([predicted], [true])[0, 0]))
            f.append(boundary_f_of_rles(predicted, true))
    true_index = [pair.true for pairs in matches for pair in pairs]
    return InstanceScores(
        np.array(position, np.int64), np.array(true_index, np.int64), np.array(iou, np.float64), np.array(f, np.float64)
    )


def compare(before: NDArray[np.float64], after: NDArray[np.float64]) -> Shares:
    """How many scores rose or fell by more than `UNCHANGED`.

    Args:
        before: (n,) scores of the coarse masks.
        after: (n,) scores of the same instances, refined.
    """
    if len(before) == 0:
        return Shares(0.0, 0.0, 0.0)
    change = after - before
    better, worse = float((change > UNCHANGED).mean()), float((change < -UNCHANGED).mean())
    return Shares(better, worse, float((np.abs(change) <= UNCHANGED).mean()))
