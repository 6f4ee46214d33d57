"""The stem adds a convolution of the mask to one of the image."""

import pytest
import torch
from torch import nn

from bpr.models.stem import CoarseMaskStem


def image_conv() -> nn.Conv2d:
    return nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1, bias=False)


def test_a_new_stem_ignores_the_mask() -> None:
    conv = image_conv()
    image, mask = torch.randn(2, 3, 16, 16), torch.randn(2, 1, 16, 16)
    # Zero filters add exact zeros, but a convolution over 4 channels may sum in another order than over 3.
    torch.testing.assert_close(CoarseMaskStem(conv)(torch.cat((image, mask), 1)), conv(image))


def test_the_stem_is_the_sum_of_both_convolutions() -> None:
    stem = CoarseMaskStem(image_conv())
    nn.init.normal_(stem.mask.weight)
    image, mask = torch.randn(2, 3, 16, 16), torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(stem(torch.cat((image, mask), 1)), stem.image(image) + stem.mask(mask))


def test_zero_mask_filters_get_a_gradient() -> None:
    stem = CoarseMaskStem(image_conv())
    stem(torch.randn(2, 4, 16, 16)).square().sum().backward()
    assert stem.mask.weight.grad is not None
    assert stem.mask.weight.grad.abs().min() > 0


def test_the_image_convolution_is_adopted_with_its_weights() -> None:
    conv = image_conv()
    assert CoarseMaskStem(conv).image is conv


@pytest.mark.parametrize("conv", [nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3, groups=3, bias=False)])
def test_a_convolution_that_cannot_be_summed_is_refused(conv: nn.Conv2d) -> None:
    with pytest.raises(ValueError, match="without bias and groups"):
        CoarseMaskStem(conv)
