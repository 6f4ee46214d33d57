"""First layer of the network: the RGB patch and the coarse mask enter side by side."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class CoarseMaskStem(nn.Module):
    """Sum of a convolution of the image and one of the coarse mask; replaces ``conv1`` of a timm network.

    The image filters stay those of the given layer (pretrained or not). The mask filters start at zero: the
    first forward pass then yields exactly the pretrained features, and the mask filters still receive a
    gradient. Source: arXiv 2104.05239, which concatenates image and mask patch; the two are separate layers
    here so that pretrained image weights fit in unchanged.

    Attributes:
        image: The convolution of the image, without bias.
        mask: The convolution of the one-channel mask, of the same geometry, zero-initialised.
    """

    def __init__(self, image: nn.Conv2d) -> None:
        """Wrap ``image``.

        Args:
            image: Convolution with c input channels, no bias and one group; adopted, not copied.

        Raises:
            ValueError: If ``image`` has a bias, groups or a padding mode other than zeros.
        """
        super().__init__()
        if image.bias is not None or image.groups != 1 or image.padding_mode != "zeros":
            raise ValueError(f"expected a stem convolution without bias and groups, padded with zeros; got {image}")
        self.image = image
        self.mask = nn.Conv2d(
            1,
            image.out_channels,
            kernel_size=(image.kernel_size[0], image.kernel_size[1]),
            stride=(image.stride[0], image.stride[1]),
            padding=image.padding if isinstance(image.padding, str) else (image.padding[0], image.padding[1]),
            dilation=(image.dilation[0], image.dilation[1]),
            bias=False,
        )
        nn.init.zeros_(self.mask.weight)

    def forward(self, image_and_mask: Tensor) -> Tensor:
        """Return ``image(x[:, :c]) + mask(x[:, c:])``.

        Args:
            image_and_mask: (n, c + 1, h, w) float: normalised image, then the mask as -1/+1.

        Returns:
            (n, out_channels, h', w') float.
        """
        # Two convolutions summed are one with concatenated filters: one kernel, no slices of the input.
        filters = torch.cat((self.image.weight, self.mask.weight), dim=1)
        return conv2d(image_and_mask, filters, None, self.image.stride, self.image.padding, self.image.dilation)
