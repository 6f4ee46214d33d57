"""Mask IoU and boundary F of matched instances, and how many of them a refinement made better or worse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.evaluation.boundary_f import boundary_f_of_rles
from bpr.matching import Match, match_instances
from bpr.structures import ImageRecord

MIN_IOU: Final = 0.5
"""Mask IoU from which a prediction and an object match."""
UNCHANGED: Final = 0.001
"""A score that changes by at most this counts as unchanged."""
SPOILT: Final = 0.02
"""A score that falls by more than this counts as spoilt."""


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Scores of the matched instances, image by image.

    Attributes:
        position: (n,) index of the prediction in its results file.
        category: (n,) its class.
        true: (n,) index of the object among those of its image.
        iou: (n,) mask IoU, in [0, 1].
        boundary_f: (n,) `bpr.evaluation.boundary_f.boundary_f`, in [0, 1].
    """

    position: NDArray[np.int64]
    category: NDArray[np.int64]
    true: NDArray[np.int64]
    iou: NDArray[np.float64]
    boundary_f: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the matched instances, in [0, 1].

    The first three add up to 1, or to 0 if nothing is matched; those that are spoilt are among those that are worse.
    """

    better: float
    worse: float
    unchanged: float
    spoilt: float


def match_all(images: Sequence[ImageRecord]) -> list[tuple[Match, ...]]:
    """`match_instances` of each image, from an IoU of `MIN_IOU` on."""
    return [match_instances(image.instances, image.truths, MIN_IOU) for image in images]


def score_matches(images: Sequence[ImageRecord], matches: Sequence[tuple[Match, ...]]) -> InstanceScores:
    """Score the matched masks of each image; ``images`` may have other masks of the predictions that were matched."""
    scored = [
        (image.instances[pair.predicted], image.truths[pair.true].rle, pair.true)
        for image, pairs in zip(images, matches, strict=True)
        for pair in pairs
    ]
    return InstanceScores(
        position=np.array([instance.position for instance, *_ in scored], np.int64),
        category=np.array([instance.category for instance, *_ in scored], np.int64),
        true=np.array([number for *_, number in scored], np.int64),
        iou=np.array([rle_codec.iou([i.rle], [truth])[0, 0] for i, truth, _ in scored], np.float64),
        boundary_f=np.array([boundary_f_of_rles(i.rle, truth) for i, truth, _ in scored], np.float64),
    )


def compare(before: NDArray[np.float64], after: NDArray[np.float64]) -> Shares:
    """How many scores, (n,) of the same instances, rose or fell by more than `UNCHANGED` or `SPOILT`."""
    if len(before) == 0:
        return Shares(0.0, 0.0, 0.0, 0.0)
    change = after - before
    better, worse = float((change > UNCHANGED).mean()), float((change < -UNCHANGED).mean())
    return Shares(better, worse, float((np.abs(change) <= UNCHANGED).mean()), float((change < -SPOILT).mean()))
