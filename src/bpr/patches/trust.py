"""When a coarse mask is left alone: what the network says of it, and how sure the network is of its own."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpr.patches.boundary import boundary_strength
from bpr.structures import Mask

PATCH_SIDE: Final = 64
"""Side of a patch, px, for which `Evidence` is in pixels; at other scales it is in the same parts of a patch."""


class Evidence(NamedTuple):
    """What is known of one mask and of its refinement; each speaks of the whole mask.

    Whether a boundary is half a pixel off can hardly be seen in one patch, but the errors of a mask are alike all along
    its boundary.

    Attributes:
        trust: Mean logit, at the boundary, of the network's second output: the mask is close to the truth.
        blur: How blurred the network's own boundary is: logarithm of the sum of ``p * (1 - p)`` of the probabilities
            per pixel of boundary (px, plus `SHARPEST`).
    """

    trust: float
    blur: float


TRUSTED: Final = "trusted by the network as it came"
"""Why a mask stays as it came although it went through the network."""
SHARPEST: Final = 0.02
BIAS: Final = 1.68
WEIGHTS: Final = Evidence(trust=3.0, blur=1.69)
"""Log-odds that a mask is better kept than refined: ``BIAS`` and the weighted evidence.

Fitted by ``python -m bpr.benchmark.trust`` for the weights that ship, see their model card: on the patches that have
the last word, of 64 px or as large as a smaller object (`bpr.patches.engine.Method`).
"""


def gather_evidence(
    mask: Mask, probability: NDArray[np.float32], trust: NDArray[np.float32], side: int
) -> Evidence | None:
    """The evidence on one mask.

    Args:
        mask: (h, w) bool, the coarse mask.
        probability: (h, w) float32 in [0, 1], mean of the patches; 0 or 1 outside of them, as the mask says.
        trust: (h, w) float32, mean of the trust logits of the patches; NaN outside of them.
        side: Of the patches, px.

    Returns:
        None where no patch shows a boundary.
    """
    at_boundary = trust[(boundary_strength(mask) > 0) & np.isfinite(trust)]
    if not len(at_boundary):
        return None
    length = len(at_boundary) / 2 * side / PATCH_SIDE  # of the boundary, which has pixels on both sides
    unsure = float((probability * (1 - probability)).sum())
    return Evidence(float(at_boundary.mean()), math.log(unsure / length + SHARPEST))


def is_trusted(evidence: Evidence | None) -> bool:
    """Whether a mask is rather kept than refined; not without evidence."""
    if evidence is None:
        return False
    return BIAS + sum(weight * value for weight, value in zip(WEIGHTS, evidence, strict=True)) > 0
