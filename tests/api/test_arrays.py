import numpy as np
import pytest
import torch

from bpr.api.arrays import boxes_of, to_stack


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_negative_integers_are_refused(kind):
    with pytest.raises(TypeError, match="integers 0 and 1, got int64 from -1 to 0; threshold them first"):
        to_stack(kind(np.array([[[-1, 0]]])))


def test_values_above_1_are_refused():
    with pytest.raises(TypeError, match="integers 0 and 1, got uint8 from 0 to 255; threshold them first"):
        to_stack(np.array([[[0, 255]]], np.uint8))


def test_boxes_are_tight_and_zero_for_empty_masks():
    masks = np.zeros((2, 9, 12), bool)
    masks[0, 2:5, 7] = masks[0, 3, 4:9] = True
    boxes = boxes_of(masks)
    assert boxes.tolist() == [[4, 2, 9, 5], [0, 0, 0, 0]]
    assert boxes.dtype == np.float32


def test_no_masks_have_no_boxes():
    assert boxes_of(np.zeros((0, 9, 12), bool)).shape == (0, 4)
