import numpy as np
import pytest
import torch

from bpr.api.arrays import to_stack


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_negative_integers_are_refused(kind):
    with pytest.raises(TypeError, match="integers 0 and 1, got int64 from -1 to 0; threshold them first"):
        to_stack(kind(np.array([[[-1, 0]]])))


def test_values_above_1_are_refused():
    with pytest.raises(TypeError, match="integers 0 and 1, got uint8 from 0 to 255; threshold them first"):
        to_stack(np.array([[[0, 255]]], np.uint8))
