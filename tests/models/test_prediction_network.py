import pytest
import torch
from torch import nn

from bpr.models.prediction_network import MarginHead, ProbabilityNetwork, fold_batch_norms
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


@torch.inference_mode()
def test_the_margin_is_the_difference_of_the_heads_logits(head):
    scales = [torch.randn(2, channels, 16 >> i, 16 >> i) for i, channels in enumerate([3, 4, 5, 7])]
    logits = head(scales)
    fold_batch_norms(head)
    found = MarginHead(head)(scales)
    assert logits.abs().mean() > 0.1
    # Sums in another order, in float32.
    torch.testing.assert_close(found, logits[:, 1:] - logits[:, :1], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_folding_changes_no_feature():
    torch.manual_seed(0)
    network = PatchSegmenter(input_size=32).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    images, masks = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.rand(2, 32, 32) > 0.5
    expected, norms = network.features(images, masks), sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    fold_batch_norms(network)
    for found, scale in zip(network.features(images, masks), expected, strict=True):
        # Sums in another order, in float32: 2e-6 of the largest.
        torch.testing.assert_close(found, scale, rtol=0, atol=1e-5 * scale.abs().max().item())
    left = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert (norms > 100, left) == (True, 1)  # that of the stem, which follows a sum of two convolutions


@torch.inference_mode()
def test_trust_logits_come_beside_the_probabilities():
    torch.manual_seed(0)
    network = PatchSegmenter(input_size=64, trust=True).eval()
    nn.init.normal_(network.decode_head.conv_trust.weight, std=0.01)
    images, masks = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8), torch.rand(2, 40, 40) > 0.5
    answers = ProbabilityNetwork(network)(images, masks)
    assert answers.shape == (2, 2, 40, 40)
    torch.testing.assert_close(answers[:, 0], network.foreground_probability(images, masks), rtol=0, atol=1e-4)
    _, trust = network.logits_and_trust(images, masks)
    for size in ((64, 64), (40, 40)):
        trust = nn.functional.interpolate(trust, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(answers[:, 1:], trust, rtol=0, atol=5e-4)
    assert trust.std() > 0.01
