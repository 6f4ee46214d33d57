"""What the patch network is trained to minimise."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate


def patch_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the two-class softmax cross-entropy, averaged over all pixels (arXiv 2104.05239, section 3.3).

    The loss is taken at the network's input size; target and weight are brought there with nearest neighbour.

    Args:
        logits: (n, 2, S, S) float: background, foreground.
        target: (n, s, s) bool (or 0/1 of any dtype), true foreground.
        weight: (n, s, s) nonnegative weight of each pixel, or None for equal weights.

    Returns:
        float32 scalar, >= 0: the sum of weighted losses over the sum of weights. 0 (still connected to
        ``logits``, so that it can be back-propagated) if n is 0 or all weights are 0.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    if logits.ndim != 4 or logits.shape[1] != 2 or target.ndim != 3 or len(target) != len(logits):
        raise ValueError(
            f"expected logits (n, 2, S, S) and target (n, s, s), got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    if weight is not None and weight.shape != target.shape:
        raise ValueError(f"expected weight {tuple(target.shape)} like the target, got {tuple(weight.shape)}")
    if logits.numel() == 0:
        return logits.float().sum()
    size = (logits.shape[2], logits.shape[3])
    # Softmax cross-entropy of two classes is the binary one of their difference: less memory, same value.
    margin = logits[:, 1].float() - logits[:, 0].float()
    foreground = _resize_nearest(target, size)
    if weight is None:
        return binary_cross_entropy_with_logits(margin, foreground)
    pixel_weight = _resize_nearest(weight, size)
    total = binary_cross_entropy_with_logits(margin, foreground, weight=pixel_weight, reduction="sum")
    weight_sum = pixel_weight.sum()
    return total / weight_sum.where(weight_sum > 0, 1.0)


def _resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (n, *size) float32."""
    maps = maps.float()
    return maps if maps.shape[1:] == size else interpolate(maps.unsqueeze(1), size, mode="nearest").squeeze(1)
