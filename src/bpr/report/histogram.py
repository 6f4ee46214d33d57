"""Histograms of what refinement changed, as bars to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from bpr.evaluation.instances import UNCHANGED

Meaning = Literal["worse", "same", "better", "changed"]
_STEPS: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
_WIDEST: Final = 0.1
_BARS: Final = 10
_COVERED: Final = 97.0  # percentile within the inner bars; the outermost bar holds what lies beyond


@dataclass(frozen=True, slots=True)
class Bar:
    """How many instances lie in one interval, and what that says about them."""

    count: int
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars from left to right; ``ticks`` are the values between them, one less than there are bars, in percent."""

    bars: tuple[Bar, ...]
    ticks: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.ticks) != len(self.bars) - 1:
            raise ValueError(f"{len(self.ticks)} ticks do not separate {len(self.bars)} bars")


def gain_histogram(gains: Sequence[float]) -> Histogram:
    """Changes of IoU, from worst to best: ten bars on each side of those that count as unchanged.

    Args:
        gains: In [-1, 1]; may be empty.
    """
    values = np.asarray(gains, np.float64)
    step = _step(np.abs(values))
    worse, better = (_counts(sizes[sizes > UNCHANGED], step) for sizes in (-values, values))
    unchanged = len(values) - sum(worse) - sum(better)
    bars = [Bar(n, "worse") for n in worse[::-1]] + [Bar(unchanged, "same")] + [Bar(n, "better") for n in better]
    edges = [UNCHANGED, *(step * n for n in range(1, _BARS))]
    ticks = [f"−{100 * edge:.4g}" for edge in edges[::-1]] + [f"+{100 * edge:.4g}" for edge in edges]
    return Histogram(tuple(bars), tuple(ticks))


def kept_histogram(kept: Sequence[float]) -> Histogram:
    """IoU of coarse and refined masks, from the least alike to those that are the same.

    Args:
        kept: In [0, 1]; may be empty.
    """
    lost = 1 - np.asarray(kept, np.float64)
    step = _step(lost)
    changed = _counts(lost[lost > 0], step)
    bars = [Bar(n, "changed") for n in changed[::-1]] + [Bar(len(lost) - sum(changed), "same")]
    ticks = [f"{100 * (1 - step * n):.4g}" for n in range(_BARS)]
    return Histogram(tuple(bars), tuple(ticks[::-1]))


def _step(sizes: NDArray[np.float64]) -> float:
    """Width of a bar, so that nearly all sizes lie within `_BARS` of them."""
    reach = float(np.percentile(sizes, _COVERED)) if sizes.size else 0.0
    return next((step for step in _STEPS if step * _BARS >= reach), _WIDEST)


def _counts(sizes: NDArray[np.float64], step: float) -> list[int]:
    """How many sizes lie in each interval, from zero up; the last interval is open."""
    number = np.minimum(np.floor(sizes / step + 1e-9).astype(np.int64), _BARS - 1)
    counts: list[int] = np.bincount(number, minlength=_BARS).tolist()
    return counts
