"""A trained `PatchSegmenter` as it is run in prediction: the same probabilities from less arithmetic."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bpr.models.segmenter import MultiScaleHead, PatchSegmenter


class ProbabilityNetwork(nn.Module):
    """A `PatchSegmenter` from crops to probabilities: batch norms folded, coarsest scale mixed at its own size.

    Args:
        segmenter: In eval mode; it is copied.
    """

    def __init__(self, segmenter: PatchSegmenter) -> None:
        super().__init__()
        self.segmenter = copy.deepcopy(segmenter).eval()
        fold_batch_norms(self.segmenter)
        self.head = MarginHead(self.segmenter.decode_head)
        del self.segmenter.decode_head
        self.eval()

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """As `PatchSegmenter.foreground_probability`, without its checks; with trust also its logits."""
        margins: Tensor = self.head(self.segmenter.features(images, masks))
        return self.segmenter.to_probability(margins.float(), (masks.shape[1], masks.shape[2]))


class MarginHead(nn.Module):
    """The head of a `PatchSegmenter` for prediction: foreground logit minus background logit, then trust if it has one.

    A 1x1 convolution and bilinear resizing commute: one mixes channels within a pixel, the other pixels within a
    channel. So the share of the coarsest scale, which holds more than half of the channels, is mixed at 1/64 of
    the pixels, and the result is resized and added; the convolution at the finest scale is left with less than
    half of its work.
    """

    def __init__(self, head: MultiScaleHead) -> None:
        """Take over the weights of ``head``, whose norm is folded (`fold_batch_norms`); it is not modified."""
        super().__init__()
        mix, classify = head.mix, head.conv_seg
        assert mix.bias is not None
        assert classify.bias is not None
        fine = mix.in_channels - head.coarsest_channels
        self.mix_fine = _convolution(mix.weight[:, :fine], mix.bias)
        self.mix_coarsest = _convolution(mix.weight[:, fine:], None)
        weight, bias = classify.weight[1:] - classify.weight[:1], classify.bias[1:] - classify.bias[:1]
        if head.conv_trust is not None:
            assert head.conv_trust.bias is not None
            weight, bias = torch.cat((weight, head.conv_trust.weight)), torch.cat((bias, head.conv_trust.bias))
        self.margin = _convolution(weight, bias)

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Return (n, 1 or 2, h, w) margins of feature maps of which the first is (n, c, h, w), the finest."""
        size = (scales[0].shape[2], scales[0].shape[3])
        resized = [interpolate(scale, size, mode="bilinear", align_corners=False) for scale in scales[1:-1]]
        coarsest: Tensor = self.mix_coarsest(scales[-1])
        added = interpolate(coarsest, size, mode="bilinear", align_corners=False)
        mixed: Tensor = self.mix_fine(torch.cat([scales[0], *resized], dim=1))
        margins: Tensor = self.margin((mixed + added).relu_())
        return margins


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every batch norm into the convolution defined right before it, in place (eval mode only).

    In HRNet a norm always follows the convolution that is defined before it. The stem's sum of two convolutions
    keeps its norm.
    """
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None and isinstance(previous[1], nn.Conv2d):
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
        previous = (name, child)


def _convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A 1x1 convolution of given weights, (out, in, 1, 1)."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")  # nothing is drawn
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer
