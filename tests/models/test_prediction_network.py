import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from bpr.models.prediction_network import MarginHead, bilinear_matrix, fold_batch_norms
from bpr.models.segmenter import MultiScaleHead, PatchSegmenter


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = MultiScaleHead([3, 4, 5, 7], classes=2).eval()
    norm = head.convs.get_submodule("0.bn")
    nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(head.conv_seg.weight)
    nn.init.normal_(head.conv_seg.bias)
    return head


@pytest.mark.parametrize("sides", [None, (2, 16)])
@torch.inference_mode()
def test_the_margin_is_the_difference_of_the_heads_logits(head, sides):
    scales = [torch.randn(2, channels, 16 >> i, 16 >> i) for i, channels in enumerate([3, 4, 5, 7])]
    logits = head(scales)
    fold_batch_norms(head)
    found = MarginHead(head, sides)(scales)
    assert logits.abs().mean() > 0.1
    # Sums in another order, in float32.
    torch.testing.assert_close(found, logits[:, 1:] - logits[:, :1], rtol=1e-5, atol=1e-5)


def test_the_matrix_resizes_as_interpolate_does():
    maps = torch.randn(2, 3, 4, 4)
    expected = interpolate(maps, (32, 32), mode="bilinear", align_corners=False)
    found = maps.flatten(2) @ bilinear_matrix(4, 32)
    torch.testing.assert_close(found.view(2, 3, 32, 32), expected)


def test_all_norms_but_the_stems_are_folded():
    network = PatchSegmenter(input_size=32).eval()
    fold_batch_norms(network)
    assert [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)] == ["backbone.bn1"]
