"""Histograms of what refinement changed, as bars to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpr.evaluation.instances import UNCHANGED

_WIDTHS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_BARS: Final = 10  # on each side
_COVERED: Final = 97.0  # percentile within the inner bars; the outermost bar holds what lies beyond


@dataclass(frozen=True, slots=True)
class Bar:
    """How many instances lie in one interval, and what that says: worse, same, better or changed."""

    count: int
    meaning: str


class Histogram(NamedTuple):
    """Bars from left to right; ``ticks`` are the values between them, one less than there are bars, in percent."""

    bars: list[Bar]
    ticks: list[str]


def gain_histogram(gains: Sequence[float]) -> Histogram:
    """Changes of IoU in [-1, 1], from worst to best: ten bars on each side of those that count as unchanged."""
    values = np.asarray(gains, np.float64)
    edges = [UNCHANGED, *_steps(np.abs(values))]
    worse, better = (_counts(sizes, edges) for sizes in (-values, values))
    same = len(values) - sum(worse) - sum(better)
    bars = [Bar(n, "worse") for n in worse[::-1]] + [Bar(same, "same")] + [Bar(n, "better") for n in better]
    ticks = [f"−{100 * edge:.4g}" for edge in edges[::-1]] + [f"+{100 * edge:.4g}" for edge in edges]
    return Histogram(bars, ticks)


def similarity_histogram(ious: Sequence[float]) -> Histogram:
    """IoU of coarse and refined masks in [0, 1], from the least alike to those that are the same."""
    losses = 1 - np.asarray(ious, np.float64)
    edges = [0.0, *_steps(losses)]
    changed = _counts(losses, edges)
    bars = [Bar(n, "changed") for n in changed[::-1]] + [Bar(len(losses) - sum(changed), "same")]
    return Histogram(bars, [f"{100 * (1 - edge):.4g}" for edge in edges[::-1]])


def _steps(sizes: NDArray[np.float64]) -> list[float]:
    """Equal steps between the bars, so that nearly all sizes lie within them."""
    reach = float(np.percentile(sizes, _COVERED)) if sizes.size else 0.0
    width = next((width for width in _WIDTHS if width * _BARS >= reach), _WIDTHS[-1])
    return [width * n for n in range(1, _BARS)]


def _counts(sizes: NDArray[np.float64], edges: Sequence[float]) -> list[int]:
    """How many sizes lie between two edges; above the first one, and without an end after the last one."""
    counts: list[int] = np.histogram(sizes, [np.nextafter(edges[0], 1), *edges[1:], np.inf])[0].tolist()
    return counts
