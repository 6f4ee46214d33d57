"""What the patch network is trained to minimise."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate


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
