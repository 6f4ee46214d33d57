"""Where a coarse mask is left alone: the network says how near to the truth it takes the mask to be."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr.patches.boundary import boundary_strength
from bpr.structures import Mask

BIAS: Final = 2.0
SLOPE: Final = 4.0
"""Log-odds that a mask is kept: ``BIAS + SLOPE`` times the mean trust logit along its boundary."""
LOCAL: Final = 2.0
"""Of these, how much is taken away for each unit by which the logit near a pixel is below that mean."""
TOLERANCE: Final = 0.5
"""How far below the mean it may be before anything is taken away."""


def keep_share(mask: Mask, trust: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much the coarse mask counts at each pixel beside the network's probability.

    Whether a boundary is half a pixel off can hardly be seen in one patch, but the errors of a mask are alike all along
    its boundary. So it is judged as a whole, and a part of it that is worse than the whole is judged by itself.

    Args:
        mask: (h, w) bool, the coarse mask.
        trust: (h, w) float32, mean of the trust logits of the patches that cover a pixel; NaN where none does.

    Returns:
        (h, w) float32 in [0, 1]; the refined probability is ``keep * mask + (1 - keep) * probability``.
    """
    at_boundary = trust[(boundary_strength(mask) > 0) & np.isfinite(trust)]
    if not len(at_boundary):
        return np.zeros(mask.shape, np.float32)
    whole = float(at_boundary.mean())
    below = np.minimum(np.nan_to_num(trust) - whole + TOLERANCE, 0)
    odds = np.clip(BIAS + SLOPE * whole + LOCAL * below, -30, 30)
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)
