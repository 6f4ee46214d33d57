import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from bpr import rle

masks = arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@st.composite
def masks_and_windows(draw):
    mask = draw(masks)
    xs = sorted(draw(st.lists(st.integers(0, mask.shape[1]), min_size=2, max_size=2)))
    ys = sorted(draw(st.lists(st.integers(0, mask.shape[0]), min_size=2, max_size=2)))
    return mask, (xs[0], ys[0], xs[1], ys[1])


def by_pycocotools(mask):
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


@pytest.mark.parametrize("first", [False, True])
def test_uncompressed_counts_are_the_runs(first):
    mask = np.full((3, 2), first)
    mask[1, 1] = not first
    code = rle.encode(mask)
    assert rle.uncompressed_counts(code) == ([0, 4, 1, 1] if first else [4, 1, 1])
    assert rle.from_segmentation({"size": [3, 2], "counts": rle.uncompressed_counts(code)}, (3, 2)) == code


@given(masks)
def test_codes_are_those_of_pycocotools(mask):
    assert rle.encode(mask) == by_pycocotools(mask)
    np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)


@given(masks_and_windows())
def test_a_window_is_decoded_and_encoded_as_part_of_the_whole(drawn):
    mask, (x1, y1, x2, y2) = drawn
    part = rle.decode(rle.encode(mask), (x1, y1, x2, y2))
    np.testing.assert_array_equal(part, mask[y1:y2, x1:x2])
    outside_empty = np.zeros_like(mask)
    outside_empty[y1:y2, x1:x2] = part
    assert rle.encode(part, (x1, y1, x2, y2), mask.shape) == by_pycocotools(outside_empty)


@given(masks)
def test_box_and_area_are_those_of_the_pixels(mask):
    code = rle.encode(mask)
    ys, xs = np.nonzero(mask)
    expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else (0, 0, 0, 0)
    assert rle.bounding_box(code) == expected
    assert rle.area(code) == mask.sum()


def test_masks_of_large_images_are_decoded_by_window_without_the_whole():
    size = (20_000, 20_000)
    disc = np.hypot(*np.mgrid[-20:21, -20:21]) < 18
    code = rle.encode(disc, (15_000, 12_000, 15_041, 12_041), size)
    np.testing.assert_array_equal(rle.decode(code, (15_000, 12_000, 15_041, 12_041)), disc)
    assert rle.area(code) == disc.sum()


def run_lengths(mask):
    """Background first, column by column."""
    pixels = [False, *mask.T.reshape(-1).tolist()]
    changes = [at for at in range(1, len(pixels)) if pixels[at] != pixels[at - 1]]
    return np.diff([at - 1 for at in changes] + [mask.size], prepend=0).tolist()


@given(masks)
def test_uncompressed_and_bytes_are_understood(mask):
    code = by_pycocotools(mask)
    counts = run_lengths(mask)
    assert rle.from_segmentation({"size": list(mask.shape), "counts": counts}, mask.shape) == code
    as_bytes = {"size": list(mask.shape), "counts": code["counts"].encode()}
    assert rle.from_segmentation(as_bytes, mask.shape) == code


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
@pytest.mark.parametrize("of", [list, np.asarray])
def test_uncompressed_counts_may_be_integers_of_numpy(kind, of):
    counts = of(np.array([9, 200, 47], kind))
    expected = rle.from_segmentation({"size": [16, 16], "counts": [9, 200, 47]}, (16, 16))
    assert rle.from_segmentation({"size": [16, 16], "counts": counts}, (16, 16)) == expected


def test_polygons_are_drawn_as_pycocotools_draws_them():
    polygons = [[1.5, 1.5, 8.2, 1.5, 8.2, 7.9], [10, 10, 14, 10, 14, 14, 10, 14]]
    expected = coco_mask.merge(coco_mask.frPyObjects(polygons, 20, 20))["counts"].decode()
    assert rle.from_segmentation(polygons, (20, 20))["counts"] == expected


def test_no_polygon_is_an_empty_mask():
    assert rle.area(rle.from_segmentation([], (5, 5))) == 0


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "list of polygons or an RLE"),
        ("abc", "list of polygons or an RLE"),
        ([[1, 2, 3, 4]], "three points"),
        ([["1", "2", "3", "4", "5", "6"]], "not a finite number"),
        ([[True, False, True, True, False, False]], "not a finite number"),
        ([[1, 2, 3, 4, 5, None]], "not a finite number"),
        ({"size": None, "counts": [30]}, "the former as .h, w"),
        ({"size": [5, 5], "counts": "\u00e9"}, "not a compressed COCO RLE"),
        ([[1, 2, 3, 4, 5, float("nan")]], "not a finite number"),
        ({"size": [5, 5]}, "'size' and 'counts'"),
        ({"size": [4, 5], "counts": [20]}, r"the RLE is \(4, 5\)"),
        ({"size": [5, 5], "counts": [20]}, "covers 20 pixels"),
        ({"size": [5, 5], "counts": [30, -5]}, "whole numbers"),
        ({"size": [5, 5], "counts": 25}, "whole numbers"),
        ({"size": [5, 5], "counts": [24, True]}, "whole numbers"),
        ({"size": [5, 5], "counts": np.array([20.0, 5])}, "whole numbers"),
        ({"size": [5, 5], "counts": np.array([[20, 5]])}, "whole numbers"),
        ({"size": [5, 5], "counts": "zz"}, "compressed COCO RLE"),
        ({"size": [5, 5], "counts": "é"}, "ascii"),
    ],
)
def test_broken_segmentations_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        rle.from_segmentation(segmentation, (5, 5))


def test_windows_outside_of_the_image_are_refused():
    with pytest.raises(ValueError, match="not inside"):
        rle.decode(rle.encode(np.ones((4, 4), bool)), (0, 0, 5, 4))
    with pytest.raises(ValueError, match="does not fit"):
        rle.encode(np.ones((4, 4), bool), (0, 0, 3, 4), (9, 9))


def test_iou_is_of_all_pairs():
    small, large = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    small[:2, :2] = True
    codes = [rle.encode(small)], [rle.encode(large)]
    assert rle.iou(*codes).tolist() == [[0.25]]
    assert rle.iou([], codes[1]).shape == (0, 1)


def test_the_common_box_holds_all_masks_and_ignores_empty_ones():
    masks = np.zeros((3, 20, 30), np.bool_)
    masks[0, 2:5, 7:9], masks[1, 4:11, 3:8] = True, True
    codes = [rle.encode(mask) for mask in masks]
    assert rle.common_box(codes) == (3, 2, 9, 11)
    assert rle.common_box(codes[2:]) == rle.common_box([]) == (0, 0, 0, 0)


@pytest.mark.parametrize("far", [1e5, -1e9, 1e30])
def test_polygons_far_outside_of_the_image_are_refused(far):
    with pytest.raises(ValueError, match="far outside"):
        rle.from_segmentation([[far, 1, 2, 3, 4, far]], (40, 50))


def test_polygons_may_leave_the_image():
    mask = rle.decode(rle.from_segmentation([[-100, -100, 200, -100, 200, 200, -100, 200]], (40, 50)))
    assert mask.all()
