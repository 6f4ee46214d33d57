"""What the patch network is trained to minimise."""

from typing import Final

from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    avg_pool2d,
    binary_cross_entropy_with_logits,
    interpolate,
    max_pool2d,
)

TRUST_SHARE: Final = 0.2
"""Weight of `trust_loss` beside the cross-entropy of the masks."""
TRUST_WINDOW: Final = 0.28
"""Side of the neighbourhood in which trust is judged, as a share of the patch: 18 px of 64."""
CLOSE: Final = 1 / 128
"""A boundary that is off by less than this share of the patch is close to the truth: half a pixel of 64."""
MIN_BOUNDARY: Final = 1 / 16
"""Boundary around a cell from which it counts, as a share of the side of the patch."""


def patch_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the two-class softmax cross-entropy, averaged over all pixels (arXiv 2104.05239, section 3.3).

    The loss is taken at the network's input size, to which the target is brought with nearest neighbour.

    Args:
        logits: (n, 2, S, S) float: background, foreground.
        target: (n, s, s) bool (or 0/1 of any dtype), true foreground.

    Returns:
        float32 scalar, >= 0; 0 (still connected to ``logits``, so that it can be back-propagated) if n is 0.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    if logits.ndim != 4 or logits.shape[1] != 2 or target.ndim != 3 or len(target) != len(logits):
        raise ValueError(
            f"expected logits (n, 2, S, S) and target (n, s, s), got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    if logits.numel() == 0:
        return logits.float().sum()
    foreground = target.float()
    if target.shape[1:] != logits.shape[2:]:
        size = (logits.shape[2], logits.shape[3])
        foreground = interpolate(foreground.unsqueeze(1), size, mode="nearest").squeeze(1)
    # Softmax cross-entropy of two classes is the binary one of their difference: less memory, same value.
    return binary_cross_entropy_with_logits(logits[:, 1].float() - logits[:, 0].float(), foreground)


def trust_loss(trust: Tensor, coarse: Tensor, truth: Tensor) -> Tensor:
    """Return the binary cross-entropy of "the boundary of the coarse mask is close to that of the truth around here".

    It is judged in a neighbourhood of each cell of the trust output (`TRUST_WINDOW`): pixels in which the masks differ,
    over pixels of boundary, is how far off the coarse boundary is on average. It is close where that is less than
    `CLOSE`. Cells without a piece of boundary around them do not count.

    Args:
        trust: (n, 1, t, t) float, logits.
        coarse: (n, s, s) bool, as the network saw it.
        truth: (n, s, s) bool.

    Returns:
        float32 scalar, >= 0.
    """
    trust, side = trust.float(), coarse.shape[-1]
    window = int(trust.shape[2] * TRUST_WINDOW) // 2 * 2 + 1

    def around(pixels: Tensor) -> Tensor:
        cells = adaptive_avg_pool2d(pixels, trust.shape[2]) * side**2 / trust.shape[2] ** 2
        return avg_pool2d(cells, window, 1, window // 2, count_include_pad=False) * window**2

    predicted, annotated = coarse.float().unsqueeze(1), truth.float().unsqueeze(1)
    boundary = around((_inner_boundary(predicted) + _inner_boundary(annotated)) / 2)
    close = around((predicted != annotated).float()) < CLOSE * side * boundary
    counts = (boundary >= MIN_BOUNDARY * side).float()
    total = binary_cross_entropy_with_logits(trust, close.float(), counts, reduction="sum")
    return total / counts.sum().clamp(min=1)


def _inner_boundary(masks: Tensor) -> Tensor:
    """Foreground pixels with background in their 3x3 neighbourhood, of (n, 1, s, s) masks of 0 and 1."""
    return masks * (max_pool2d(1 - masks, 3, 1, 1) > 0)
