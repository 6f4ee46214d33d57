import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch.utils._python_dispatch import TorchDispatchMode

from bpr.models.metrics import PatchMetrics


class NoFloat64(TorchDispatchMode):
    """A device such as an Apple GPU, on which there is no float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        assert not (isinstance(made, torch.Tensor) and made.dtype == torch.float64), func
        return made


def masks(n=5, side=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(2 * n, 1, side // 4, side // 4, generator=generator)
    blobs = torch.nn.functional.interpolate(noise, (side, side), mode="bilinear")[:, 0] > 0.5
    return blobs[:n], blobs[n:]


def of(*pairs):
    metrics = PatchMetrics()
    for pair in pairs:
        metrics.update(*pair)
    return {name: float(value) for name, value in metrics.compute().items()}


def test_figures_are_those_of_scipy_over_all_pixels():
    predicted, true = (m.numpy() for m in masks())
    neighbours = np.ones((1, 3, 3), bool)
    edge, true_edge = (m & binary_dilation(~m, neighbours) for m in (predicted, true))
    precision = (edge & binary_dilation(true_edge, neighbours)).sum() / edge.sum()
    recall = (true_edge & binary_dilation(edge, neighbours)).sum() / true_edge.sum()
    expected = {
        "iou": (predicted & true).sum() / (predicted | true).sum(),
        "accuracy": (predicted == true).mean(),
        "boundary_f": 2 * precision * recall / (precision + recall),
    }
    assert of(masks()) == pytest.approx(expected)


def test_sums_are_taken_over_all_batches():
    (first, first_true), (second, second_true) = masks(seed=0), masks(3, seed=1)
    together = torch.cat([first, second]), torch.cat([first_true, second_true])
    assert of((first, first_true), (second, second_true)) == of(together)


def test_nothing_to_compare_is_zero():
    assert of() == {"iou": 0, "accuracy": 0, "boundary_f": 0}


def test_a_device_without_float64_will_do():
    with NoFloat64():
        assert 0 < of(masks())["boundary_f"] < 1


def test_a_training_sees_more_pixels_than_float32_can_count():
    whole = torch.ones(1, 4096, 4096, dtype=torch.bool)  # 2 ** 24 pixels, beyond which float32 misses single ones
    metrics = PatchMetrics()
    metrics.update(whole, whole)
    for _ in range(200):
        metrics.update(torch.zeros(1, 1, 1, dtype=torch.bool), torch.ones(1, 1, 1, dtype=torch.bool))
    assert float(metrics.compute()["iou"]) == pytest.approx(2**24 / (2**24 + 200), abs=1e-7)
