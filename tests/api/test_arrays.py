import numpy as np
import pytest
import torch
from PIL import Image

from bpr.api.arrays import boxes_of, from_array
from bpr.api.interop import masks_of


@pytest.fixture
def stack():
    masks = np.zeros((3, 6, 8), bool)
    masks[0, 1:3, 2:5] = masks[1, 4:, :3] = True
    return masks


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
@pytest.mark.parametrize("shape", [(3, 6, 8), (3, 1, 6, 8), (6, 8)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "foreground"),
    [("bool", 1), ("uint8", 1), ("uint8", 255), ("int64", 1), ("float32", 1), ("float64", 1), ("float16", 1)],
)
def test_masks_come_back_with_their_type_shape_and_values(stack, kind, shape, dtype, foreground):
    masks = stack if len(shape) > 2 else stack[:1]
    given = kind((masks.reshape(shape) * foreground).astype(dtype))
    adapted = from_array(given)
    assert np.array_equal(adapted.arrays, masks)
    rebuilt = adapted.rebuild(~masks)
    assert (type(rebuilt), rebuilt.dtype, tuple(rebuilt.shape)) == (type(given), given.dtype, shape)
    assert np.array_equal(np.asarray(rebuilt), np.where(~masks, foreground, 0).reshape(shape))


@pytest.mark.parametrize("of", [list, np.stack, lambda masks: torch.from_numpy(np.stack(masks))])
def test_truths_of_other_bytes_are_those_of_bytes_of_one(stack, of):
    """Pillow makes them of images of mode 1; the patches of such masks lay elsewhere."""
    given = [np.asarray(Image.fromarray(mask)) for mask in stack]
    assert given[0].view(np.uint8).max() == 255
    arrays = masks_of(of(given), (6, 8)).arrays
    assert np.array_equal(arrays.view(np.uint8), stack.view(np.uint8))


def test_bfloat16_comes_back(stack):
    given = torch.from_numpy(stack).to(torch.bfloat16)
    assert torch.equal(from_array(given).rebuild(stack), given)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([-1, 0]), "int64 from -1 to 0"),
        (np.array([0, 1, 255], np.uint8), "uint8 from 0 to 255"),
        (np.array([0, 254], np.uint8), "uint8 from 0 to 254"),
        (np.array([0.0, 0.7]), "float64 from 0.0 to 0.7"),
        (np.array([0.0, 255.0]), "float64 from 0.0 to 255.0"),
        (np.array([1.0, np.nan]), "float64 from nan to nan"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_other_values_are_refused(kind, values, found):
    with pytest.raises(TypeError, match=f"0 and 1, or integers 0 and 255, got {found}; threshold them first"):
        from_array(kind(values[None, None]))


@pytest.mark.parametrize("shape", [(), (9,), (2, 3, 4, 5), (1, 1, 1, 4, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(TypeError, match=r"\(n, h, w\), \(n, 1, h, w\) or \(h, w\) array or tensor.*, got ndarray"):
        from_array(np.zeros(shape, bool))


def test_boxes_are_tight_and_zero_for_empty_masks():
    masks = np.zeros((2, 9, 12), bool)
    masks[0, 2:5, 7] = masks[0, 3, 4:9] = True
    boxes = boxes_of(masks)
    assert boxes.tolist() == [[4, 2, 9, 5], [0, 0, 0, 0]]
    assert boxes.dtype == np.float32


def test_no_masks_have_no_boxes():
    assert boxes_of(np.zeros((0, 9, 12), bool)).shape == (0, 4)
