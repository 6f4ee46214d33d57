"""The segmenter maps uint8 patches of any size to foreground probabilities of that size."""

import json

import httpx
import pytest
import requests
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor
from torch.nn.functional import interpolate

from bpr.models.losses import patch_cross_entropy
from bpr.models.segmenter import PatchSegmenter


def patches(count: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count * 1000 + side)
    images = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.rand(count, side, side, generator=generator) > 0.5


@pytest.fixture(scope="module")
def segmenter() -> PatchSegmenter:
    """A network in eval mode that depends on the mask and whose logits are of a trained one's order, 1."""
    torch.manual_seed(0)
    network = PatchSegmenter("hrnet_w18_small_v2", input_size=64)
    torch.nn.init.normal_(network.get_parameter("backbone.conv1.mask.weight"))
    torch.nn.init.normal_(network.decode_head.conv_seg.weight, std=0.1)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the running statistics become those of the one batch
    with torch.no_grad():
        network(*patches(8, 64))
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


@pytest.mark.parametrize("side", [32, 64, 100])
def test_logits_have_the_input_size_and_probabilities_that_of_the_crop(segmenter: PatchSegmenter, side: int) -> None:
    images, masks = patches(2, side)
    with torch.no_grad():
        assert segmenter(images, masks).shape == (2, 2, 64, 64)
        probabilities = segmenter.foreground_probability(images, masks)
    assert probabilities.shape == (2, side, side)
    assert probabilities.dtype == torch.float32
    assert 0 <= probabilities.min() <= probabilities.max() <= 1


@pytest.mark.parametrize("side", [32, 64, 100])
def test_probability_is_the_softmax_of_the_resized_logits(segmenter: PatchSegmenter, side: int) -> None:
    images, masks = patches(2, side)
    with torch.no_grad():
        logits = interpolate(segmenter(images, masks), (side, side), mode="bilinear", align_corners=False)
        probabilities = segmenter.foreground_probability(images, masks)
    # The same numbers, rounded in float32 in another order.
    torch.testing.assert_close(probabilities, logits.softmax(1)[:, 1], rtol=0, atol=1e-6)


def test_every_parameter_gets_a_gradient() -> None:
    network = PatchSegmenter("hrnet_w18_small_v2", input_size=64)
    images, masks = patches(4, 32)
    loss = patch_cross_entropy(network(images, masks), ~masks)
    loss.backward()  # type: ignore[no-untyped-call]
    without = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_a_new_network_ignores_the_mask_until_it_has_learned() -> None:
    network = PatchSegmenter(input_size=32).eval()
    images, masks = patches(1, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images, masks), network(images, ~masks))


def test_the_mask_matters_once_its_filters_are_not_zero(segmenter: PatchSegmenter) -> None:
    images, masks = patches(1, 64)
    with torch.no_grad():
        assert not torch.allclose(segmenter(images, masks), segmenter(images, ~masks), atol=0.1)


def test_batch_size_does_not_change_the_result(segmenter: PatchSegmenter) -> None:
    images, masks = patches(5, 48)
    with torch.no_grad():
        together = segmenter.foreground_probability(images, masks)
        alone = torch.cat([segmenter.foreground_probability(images[i : i + 1], masks[i : i + 1]) for i in range(5)])
    # The convolution algorithm, and so the order of float32 sums, may depend on the batch size (measured: 1e-5).
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_memory_format_does_not_change_the_result(segmenter: PatchSegmenter) -> None:
    network = PatchSegmenter(**segmenter.config).eval()  # type: ignore[arg-type]
    network.load_state_dict(segmenter.state_dict())
    network = network.to(memory_format=torch.channels_last)
    images, masks = patches(2, 64)
    with torch.no_grad():
        # Other kernels, other order of float32 sums (measured: 2e-5).
        torch.testing.assert_close(
            network.foreground_probability(images, masks),
            segmenter.foreground_probability(images, masks),
            rtol=0,
            atol=1e-4,
        )


def test_channels_last_weights_keep_the_features_channels_last() -> None:
    network = PatchSegmenter(input_size=64).eval().to(memory_format=torch.channels_last)
    formats: list[bool] = []
    network.backbone.register_forward_hook(
        lambda _module, _inputs, scales: formats.extend(
            scale.is_contiguous(memory_format=torch.channels_last) for scale in scales
        )
    )
    with torch.no_grad():
        network(*patches(2, 64))
    assert formats == [True] * 4


def test_no_patches_give_no_probabilities(segmenter: PatchSegmenter) -> None:
    images, masks = patches(0, 48)
    assert segmenter(images, masks).shape == (0, 2, 64, 64)
    assert segmenter.foreground_probability(images, masks).shape == (0, 48, 48)


@pytest.mark.parametrize("foreground", [1, 255])
def test_uint8_masks_are_as_good_as_bool(segmenter: PatchSegmenter, foreground: int) -> None:
    images, masks = patches(2, 64)
    with torch.no_grad():
        assert torch.equal(segmenter(images, masks), segmenter(images, masks.to(torch.uint8) * foreground))


def test_inputs_are_not_modified(segmenter: PatchSegmenter) -> None:
    images, masks = patches(2, 64)
    before = images.clone(), masks.clone()
    with torch.no_grad():
        segmenter(images, masks)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


def test_patches_of_another_form_are_refused(segmenter: PatchSegmenter) -> None:
    images, masks = patches(2, 32)
    with pytest.raises(ValueError, match=r"expected images \(n, 3, s, s\) uint8"):
        segmenter(images.float(), masks)
    with pytest.raises(ValueError, match="expected images"):
        segmenter(images.permute(0, 2, 3, 1), masks)
    with pytest.raises(ValueError, match=r"expected masks \(2, 32, 32\) bool or uint8"):
        segmenter(images, masks[:1])
    with pytest.raises(ValueError, match="expected masks"):
        segmenter(images, masks.float())


@pytest.mark.parametrize("input_size", [48, 100, 0, -32])
def test_input_sizes_must_be_multiples_of_32(input_size: int) -> None:
    with pytest.raises(ValueError, match=f"positive multiple of 32.*got {input_size}"):
        PatchSegmenter(input_size=input_size)


@pytest.mark.parametrize("backbone", ["resnet18", "hrnet_w18_smal", "hrnet_w48.nowhere"])
def test_unknown_backbones_are_refused_with_the_supported_ones(backbone: str) -> None:
    with pytest.raises(ValueError, match=f"'{backbone}'.*hrnet_w18_small_v2.*hrnet_w48"):
        PatchSegmenter(backbone)


@pytest.mark.parametrize(
    "cause",
    [
        OSError("offline"),
        LocalEntryNotFoundError("not in the cache"),
        requests.exceptions.ConnectionError("no route"),
        httpx.ConnectError("no route"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_unreachable_pretrained_weights_name_the_remedy(monkeypatch: pytest.MonkeyPatch, cause: Exception) -> None:
    def unreachable(*_args: object, **_options: object) -> None:
        raise cause

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(RuntimeError, match=r"model\.net\.pretrained=false") as caught:
        PatchSegmenter(pretrained=True)
    assert caught.value.__cause__ is cause


def test_config_is_plain_and_rebuilds_the_network(segmenter: PatchSegmenter) -> None:
    config = json.loads(json.dumps(segmenter.config))
    assert config == {"backbone": "hrnet_w18_small_v2", "input_size": 64, "pretrained": False, "trust": False}
    assert PatchSegmenter(**config).state_dict().keys() == segmenter.state_dict().keys()


def test_trust_is_a_second_output_that_changes_nothing_in_the_first(segmenter: PatchSegmenter) -> None:
    with_trust = PatchSegmenter(**{**segmenter.config, "trust": True}).eval()  # type: ignore[arg-type]
    with_trust.load_state_dict(segmenter.state_dict(), strict=False)
    images, masks = patches(2, 64)
    with torch.no_grad():
        logits, trust = with_trust.logits_and_trust(images, masks)
        torch.testing.assert_close(logits, segmenter(images, masks), rtol=0, atol=0)
    assert trust.shape == (2, 1, 16, 16)
    assert (trust == 0).all()  # undecided before it is trained
    assert with_trust.config["trust"] is True
