"""The loss is torch's two-class cross-entropy at the network's input size."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from bpr.models.losses import patch_cross_entropy, trust_loss


def logits_and_target(side: int = 8, crop: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 2, side, side, generator=generator) * 5
    return logits.requires_grad_(), torch.rand(4, crop, crop, generator=generator) > 0.5


def test_equals_cross_entropy_of_torch() -> None:
    logits, target = logits_and_target()
    torch.testing.assert_close(patch_cross_entropy(logits, target), cross_entropy(logits, target.long()))


def test_gradient_equals_that_of_cross_entropy() -> None:
    logits, target = logits_and_target()
    (ours,) = torch.autograd.grad(patch_cross_entropy(logits, target), logits)
    (theirs,) = torch.autograd.grad(cross_entropy(logits, target.long()), logits)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("crop", [4, 6, 8, 13])
def test_target_is_resized_with_nearest(crop: int) -> None:
    logits, target = logits_and_target(crop=crop)
    resized = interpolate(target[:, None].float(), (8, 8), mode="nearest")[:, 0].long()
    torch.testing.assert_close(patch_cross_entropy(logits, target), cross_entropy(logits, resized))


def test_undecided_logits_cost_log_two() -> None:
    _, target = logits_and_target()
    assert patch_cross_entropy(torch.zeros(4, 2, 8, 8), target).item() == pytest.approx(math.log(2))


def test_extreme_logits_stay_finite() -> None:
    _, target = logits_and_target()
    logits = torch.full((4, 2, 8, 8), 1e4)
    logits[:, 0] = -1e4
    assert torch.isfinite(patch_cross_entropy(logits, target))


def test_no_patches_cost_nothing_and_have_a_gradient() -> None:
    logits, target = logits_and_target()
    loss = patch_cross_entropy(logits[:0], target[:0])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_half_precision_logits_give_a_float32_loss() -> None:
    logits, target = logits_and_target()
    assert patch_cross_entropy(logits.bfloat16(), target).dtype == torch.float32


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits, target = logits_and_target()
    with pytest.raises(ValueError, match="expected logits"):
        patch_cross_entropy(logits[:, :1], target)
    with pytest.raises(ValueError, match="expected logits"):
        patch_cross_entropy(logits, target[:3])


def half_plane(column: int, side: int) -> torch.Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, :, :column] = True
    return mask


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize(("off", "close"), [(0, True), (2, False)])
def test_trust_is_right_where_it_is_high_of_close_boundaries_and_low_of_others(
    side: int, off: int, close: bool
) -> None:
    scale = side // 64
    coarse, truth = half_plane(29 * scale, side), half_plane((29 + off) * scale, side)
    sure = torch.full((1, 1, side // 4, side // 4), 8.0)
    right, wrong = (sure, -sure) if close else (-sure, sure)
    assert trust_loss(right, coarse, truth).item() < 0.001
    assert trust_loss(wrong, coarse, truth).item() == pytest.approx(8, abs=0.001)


def test_trust_is_not_judged_where_there_is_no_boundary() -> None:
    empty = torch.zeros(2, 64, 64, dtype=torch.bool)
    trust = torch.full((2, 1, 16, 16), 5.0, requires_grad=True)
    loss = trust_loss(trust, empty, empty)
    loss.backward()
    assert loss.item() == 0
    assert (trust.grad == 0).all()
