"""A mask in the part of its image that matters: all work on masks is done there, not in the whole image."""

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from bpr.structures import Mask, Size, Window

EMPTY: Final[Window] = (0, 0, 0, 0)
"""Window of an empty mask."""
LOW_SCORE: Final = "score below min_score"
"""Reason of masks that were never to be refined."""


@dataclass(frozen=True, slots=True)
class MaskWindow:
    """A mask, held in a part of its image outside of which it is background.

    Attributes:
        position: Of the instance among the predictions.
        mask: (h, w) bool, the extent of ``window``.
        window: Where in the image it lies; empty for an empty mask.
        patches: Number of its patches that went through the network.
        reason: Why the mask is as it came; None once it has been refined.
        settled: Whether `Round.boundary` passes it by from now on: its boundary was seen as closely already, or a round
            of that kind hardly changed it.
        probabilities: (h, w) float32 in [0, 1], mean probability of foreground in the patches of the last round, and 0
            or 1 outside of them; None where they were not asked for.
    """

    position: int
    mask: Mask
    window: Window
    patches: int = 0
    reason: str | None = "not refined yet"
    settled: bool = False
    probabilities: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, position: int, mask: Mask) -> Self:
        """The mask of a whole image, (h, w) bool; the memory is shared."""
        x1, y1, x2, y2 = window = bounding_box(mask)
        return cls(position, mask[y1:y2, x1:x2], window)

    def fit(self, margin: int, size: Size) -> Self:
        """The same mask in its tight box grown by ``margin`` px, inside of an image of ``size``."""
        x1, y1, x2, y2 = bounding_box(self.mask)
        dx, dy = self.window[:2]
        tight = (x1 + dx, y1 + dy, x2 + dx, y2 + dy) if x1 < x2 else EMPTY
        window = working_window(tight, size, margin)
        if window == self.window:
            return self
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.bool_)
        left, top = tight[0] - window[0], tight[1] - window[1]
        mask[top : top + y2 - y1, left : left + x2 - x1] = self.mask[y1:y2, x1:x2]
        return replace(self, mask=mask, window=window, probabilities=None)  # which were of the window before

    def leave(self, reason: str) -> Self:
        """The same mask, with why it stays as it came; an earlier refinement keeps its word."""
        return self if self.reason is None else replace(self, reason=reason)

    def equals(self, other: "MaskWindow") -> bool:
        """Whether both have the same foreground."""
        if self.window == other.window:
            return np.array_equal(self.mask, other.mask)
        size = (max(self.window[3], other.window[3]), max(self.window[2], other.window[2]))
        one, two = self.fit(0, size), other.fit(0, size)
        return one.window == two.window and np.array_equal(one.mask, two.mask)


def bounding_box(mask: Mask) -> Window:
    """Tight box of the foreground of a mask (h, w), ``x1, y1, x2, y2``, half-open; all zero for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return EMPTY
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_iou(one: Mask, other: Mask) -> float:
    """IoU of two masks (h, w) bool of the same size, in [0, 1]; 1 if both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def working_window(box: Window, size: Size, margin: int) -> Window:
    """A box grown on each side, as far as the image goes.

    Args:
        box: Tight box of the mask; may be empty.
        size: (h, w) of the image.
        margin: px.

    Returns:
        ``x1, y1, x2, y2``, inside the image; empty (all zero) for an empty box.
    """
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        return EMPTY
    height, width = size
    return (max(x1 - margin, 0), max(y1 - margin, 0), min(x2 + margin, width), min(y2 + margin, height))
