"""Histograms of what refinement changed, as bars to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from bpr.evaluation.instance_scores import UNCHANGED

Meaning = Literal["worse", "same", "better", "changed"]
_STEPS: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
_WIDEST: Final = 0.1
_BARS: Final = 10
_COVERED: Final = 97.0  # percentile within the inner bars; the outermost bar holds what lies beyond


@dataclass(frozen=True, slots=True)
class Bar:
    """How many instances lie in one interval.

    Attributes:
        label: The interval, in percent points, short enough to stand below the bar.
        count: Of instances.
        meaning: What it says about them.
    """

    label: str
    count: int
    meaning: Meaning


def gain_bars(gains: Sequence[float]) -> list[Bar]:
    """Changes of IoU, from worst to best: ten bars on each side of those that count as unchanged.

    Args:
        gains: In [-1, 1]; may be empty.
    """
    values = np.asarray(gains, np.float64)
    step = _step(np.abs(values))
    worse, better = (_counts(sizes[sizes > UNCHANGED], step) for sizes in (-values, values))
    labels = [f"{_points(step * n)}–{_points(step * (n + 1))}" for n in range(_BARS - 1)]
    labels.append(f"≥ {_points(step * (_BARS - 1))}")
    left = [Bar(label, count, "worse") for label, count in zip(labels, worse, strict=True)]
    right = [Bar(label, count, "better") for label, count in zip(labels, better, strict=True)]
    return [*left[::-1], Bar("same", int((np.abs(values) <= UNCHANGED).sum()), "same"), *right]


def kept_bars(kept: Sequence[float]) -> list[Bar]:
    """IoU of coarse and refined masks, from the least alike to those that are the same.

    Args:
        kept: In [0, 1]; may be empty.
    """
    lost = 1 - np.asarray(kept, np.float64)
    step = _step(lost)
    labels = [f"{_points(1 - step * (n + 1))}–{_points(1 - step * n)}" for n in range(_BARS - 1)]
    labels.append(f"≤ {_points(1 - step * (_BARS - 1))}")
    bars = [Bar(label, count, "changed") for label, count in zip(labels, _counts(lost[lost > 0], step), strict=True)]
    return [*bars[::-1], Bar("same", int((lost == 0).sum()), "same")]


def _step(sizes: NDArray[np.float64]) -> float:
    """Width of a bar, so that nearly all sizes lie within `_BARS` of them."""
    reach = float(np.percentile(sizes, _COVERED)) if sizes.size else 0.0
    return next((step for step in _STEPS if step * _BARS >= reach), _WIDEST)


def _counts(sizes: NDArray[np.float64], step: float) -> list[int]:
    """How many sizes lie in each interval, from zero up; the last interval is open."""
    number = np.minimum(np.floor(sizes / step + 1e-9).astype(np.int64), _BARS - 1)
    counts: list[int] = np.bincount(number, minlength=_BARS).tolist()
    return counts


def _points(share: float) -> str:
    return f"{100 * share:.4g}"
