"""From uint8 boundary patches to foreground logits: HRNet (timm) with a four-scale head."""

from collections import OrderedDict
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bpr.models.stem import CoarseMaskStem
from bpr.structures import PAPERS_ROUNDS, ROUNDS_WITH_TRUST, Round

STRIDE: Final = 32
"""Input sizes are multiples of this: the stride of HRNet's coarsest scale."""

_LARGEST_INPUT: Final = 1 << 14

PIXEL_MEAN: Final = (123.675, 116.28, 103.53)
PIXEL_STD: Final = (58.395, 57.12, 57.375)


class PatchSegmenter(nn.Module):
    """Two-class segmentation network for boundary patches (arXiv 2104.05239, section 3.3).

    Normalisation and resizing are part of the network and run on its device, so that callers only move uint8
    crops. Crops may have any size; the network sees all of them at ``input_size``. The parameters have their
    names in the authors' released checkpoints, except for the stem's convolutions (see `bpr.models.weights`).

    Attributes:
        backbone: HRNet at strides 4, 8, 16 and 32, stem taking 4 channels.
        decode_head: Four feature maps -> (n, 2, input_size / 4, input_size / 4) logits.
        trust: Whether there is a second output, the logit of the probability that the coarse mask is close to the truth
            (`bpr.models.losses.trust_loss`).
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, backbone: str = "hrnet_w18_small_v2", input_size: int = 128, pretrained: bool = False, trust: bool = False
    ) -> None:
        """Build the network.

        Args:
            backbone: Name of an HRNet in timm, e.g. ``hrnet_w18_small_v2`` or ``hrnet_w48``, with or without
                the tag of its weights (``hrnet_w48.ms_in1k``).
            input_size: Side in pixels of the square that the network sees; a positive multiple of 32.
            pretrained: Start from ImageNet weights, fetched from the hub (or its local cache).
            trust: With a second output, which says where the coarse mask is better left alone.

        Raises:
            ValueError: If ``backbone`` is no HRNet that timm knows, or ``input_size`` no positive multiple of
                32.
            RuntimeError: If the pretrained weights cannot be downloaded.
        """
        super().__init__()
        check_input_size(input_size)
        self.backbone_name = backbone
        self.input_size = input_size
        self.backbone, channels = _create_backbone(backbone, pretrained)
        self.trust = trust
        self.decode_head = MultiScaleHead(channels, classes=2, trust=trust)
        self.register_buffer(
            "pixel_mean", torch.tensor(PIXEL_MEAN, dtype=torch.float32).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer(
            "pixel_std", torch.tensor(PIXEL_STD, dtype=torch.float32).view(1, 3, 1, 1), persistent=False
        )

    @property
    def config(self) -> dict[str, str | int | bool]:
        """Plain values that rebuild this network, without its weights: ``PatchSegmenter(**config)``."""
        return {"backbone": self.backbone_name, "input_size": self.input_size, "pretrained": False, "trust": self.trust}

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds in which it refines best: that of the paper, or those on which weights with trust are trained.

        Of the latter the last passes masks by that the one before hardly changed, see `bpr.structures.Round`.
        """
        return ROUNDS_WITH_TRUST if self.trust else PAPERS_ROUNDS

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of background (0) and foreground (1) at the network's input size.

        Args:
            images: (n, 3, s, s) uint8, RGB, 0..255.
            masks: (n, s, s) bool or uint8, the coarse mask; any nonzero value is foreground.

        Returns:
            (n, 2, input_size, input_size) float; empty (and without a gradient) if n is 0.

        Raises:
            ValueError: If shapes or dtypes are not those above.
        """
        _check_patches(images, masks)
        if len(images) == 0:
            return self.pixel_mean.new_zeros((0, 2, self.input_size, self.input_size))
        logits: Tensor = self.decode_head(self.features(images, masks))
        return _resize(logits, (self.input_size, self.input_size))

    def logits_and_trust(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` returns, and the trust logits (n, 1, input_size / 4, input_size / 4), for training.

        Raises:
            ValueError: As `forward`.
        """
        _check_patches(images, masks)
        assert self.decode_head.conv_trust is not None
        mixed = self.decode_head.mix_scales(self.features(images, masks))
        logits: Tensor = self.decode_head.conv_seg(mixed)
        trust: Tensor = self.decode_head.conv_trust(mixed)
        return _resize(logits, (self.input_size, self.input_size)), trust

    def foreground_probability(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return the probability that a pixel of the crop is foreground.

        The logits are resized bilinearly from ``input_size`` to the crop before the softmax, as the paper's
        implementation does. Neither switches to eval mode nor disables gradients: the caller does.

        Args:
            images: (n, 3, s, s) uint8, RGB, 0..255.
            masks: (n, s, s) bool or uint8, the coarse mask.

        Returns:
            (n, s, s) float32 in [0, 1]; empty if n is 0.

        Raises:
            ValueError: As `forward`.
        """
        _check_patches(images, masks)
        if len(images) == 0:
            return self.pixel_mean.new_zeros(masks.shape, dtype=torch.float32)
        logits = self.decode_head(self.features(images, masks)).float()
        # Softmax over two classes is the sigmoid of their difference, and resizing is linear: one channel.
        return self.to_probability(logits[:, 1:] - logits[:, :1], (masks.shape[1], masks.shape[2]))

    def features(self, images: Tensor, masks: Tensor) -> list[Tensor]:
        """Return the four feature maps, finest first, of at least one patch; no checks, so that it can be traced."""
        scales: list[Tensor] = self.backbone(self._network_input(images, masks))
        return scales

    def to_probability(self, margins: Tensor, size: tuple[int, int]) -> Tensor:
        """Return (n, *size) probabilities of margins, (n, 1, h, w) float: foreground logit minus background logit.

        They go to ``input_size`` first, as the logits of the paper's implementation do. Of (n, 2, h, w), margins and
        trust logits, both are resized, to (n, 2, *size), and the logits stay logits.
        """
        resized = _resize(_resize(margins, (self.input_size, self.input_size)), size)
        if margins.shape[1] == 1:
            return resized.squeeze(1).sigmoid()
        return torch.cat((resized[:, :1].sigmoid(), resized[:, 1:]), dim=1)

    def _network_input(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return (n, 4, input_size, input_size) float: normalised image, then the mask as -1/+1."""
        dtype = self.pixel_mean.dtype
        image = images.to(dtype).sub_(self.pixel_mean).div_(self.pixel_std)
        mask = (masks != 0).unsqueeze(1).to(dtype).mul_(2).sub_(1)
        size = (self.input_size, self.input_size)
        if mask.shape[2:] != size:
            mask = interpolate(mask, size, mode="nearest")
        return torch.cat((_resize(image, size), mask), dim=1)


class MultiScaleHead(nn.Module):
    """Concatenate all scales at the finest one, mix them with 1x1 convolutions, classify each pixel.

    Attributes:
        coarsest_channels: Of the last feature map.
    """

    def __init__(self, scale_channels: list[int], classes: int, trust: bool = False) -> None:
        """Build the head for feature maps with these channels, finest first."""
        super().__init__()
        channels = sum(scale_channels)
        self.coarsest_channels = scale_channels[-1]
        mix = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(channels, channels, 1, bias=False),
                bn=nn.BatchNorm2d(channels),
                relu=nn.ReLU(True),
            )
        )
        self.convs = nn.Sequential(mix)
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        # Small weights: training starts near probability 1/2 everywhere.
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(self.conv_seg.get_parameter("bias"))
        self.conv_trust = nn.Conv2d(channels, 1, 1) if trust else None
        if self.conv_trust is not None:
            nn.init.zeros_(self.conv_trust.weight)
            nn.init.zeros_(self.conv_trust.get_parameter("bias"))

    @property
    def mix(self) -> nn.Conv2d:
        """The 1x1 convolution that mixes all scales."""
        conv = self.convs.get_submodule("0.conv")
        assert isinstance(conv, nn.Conv2d)
        return conv

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Return (n, classes, h, w) logits of feature maps of which the first is (n, c, h, w), the finest."""
        logits: Tensor = self.conv_seg(self.mix_scales(scales))
        return logits

    def mix_scales(self, scales: list[Tensor]) -> Tensor:
        """Return the (n, sum of channels, h, w) features from which each pixel is classified."""
        size = (scales[0].shape[2], scales[0].shape[3])
        mixed: Tensor = self.convs(torch.cat([_resize(scale, size) for scale in scales], dim=1))
        return mixed


def check_input_size(input_size: int) -> None:
    """Raise ValueError unless ``input_size`` is a positive multiple of 32, and no more than 16,384."""
    if not isinstance(input_size, int) or input_size > _LARGEST_INPUT:
        raise ValueError(f"input_size must be a whole number up to {_LARGEST_INPUT}, got {input_size!r:.60}")
    if input_size <= 0 or input_size % STRIDE:
        below = max(STRIDE, input_size // STRIDE * STRIDE)
        raise ValueError(
            f"input_size must be a positive multiple of {STRIDE} (the stride of HRNet), got {input_size}; "
            f"use {below} or {below + STRIDE} (crops of any size are resized to it)"
        )


def _create_backbone(name: str, pretrained: bool) -> tuple[nn.Module, list[int]]:
    """Return timm's HRNet with a stem that takes the mask and bilinear up-sampling, and the channels of its scales."""
    import timm  # half of the time that `from bpr import Refiner` would take

    supported = timm.list_models("hrnet_*")
    if name not in supported and name not in timm.list_models("hrnet_*", pretrained=True):
        raise ValueError(f"backbone {name!r} is not an HRNet of timm {timm.__version__}; use one of {supported}")
    try:
        backbone: Any = timm.create_model(
            name, pretrained=pretrained, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
        )
    except Exception as error:  # the hub's clients raise many unrelated types when it is out of reach
        if not pretrained:
            raise
        raise RuntimeError(
            f"the ImageNet weights of {name!r} could not be downloaded ({type(error).__name__}: {error}); "
            "connect to the hub once, or train from scratch with model.net.pretrained=false"
        ) from error
    backbone.conv1 = CoarseMaskStem(backbone.conv1)
    for module in backbone.modules():
        if isinstance(module, nn.Upsample):  # timm fuses with nearest, the paper's network bilinearly
            module.mode, module.align_corners = "bilinear", False
    return backbone, backbone.feature_info.channels()


def _check_patches(images: Tensor, masks: Tensor) -> None:
    """Raise ValueError unless images are (n, 3, s, s) uint8 and masks (n, s, s) bool or uint8."""
    side = images.shape[-1] if images.ndim else 0
    if images.dtype != torch.uint8 or images.shape != (len(images), 3, side, side):
        raise ValueError(f"expected images (n, 3, s, s) uint8, got {tuple(images.shape)} {images.dtype}")
    if masks.dtype not in (torch.bool, torch.uint8) or masks.shape != (len(images), *images.shape[2:]):
        raise ValueError(
            f"expected masks {(len(images), *images.shape[2:])} bool or uint8, got {tuple(masks.shape)} {masks.dtype}"
        )


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (n, c, *size), bilinear with ``align_corners=False``; ``maps`` itself if it has that size."""
    if maps.shape[2:] == size:
        return maps
    return interpolate(maps, size, mode="bilinear", align_corners=False)
