import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import nms

from bpr import rle
from bpr.patches.boundary import boundary_strength
from bpr.patches.cutting import crop, propose_boxes
from bpr.patches.windows import working_window
from bpr.structures import PatchSpec

masks = arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def in_window(mask, spec):
    """Propose from the working window of a mask, as the pipeline does."""
    code = rle.encode(mask)
    window = working_window(rle.bounding_box(code), mask.shape, spec.size)
    return propose_boxes(rle.decode(code, window), spec, window[:2], mask.shape)


def test_proposals_equal_the_reference_box_for_box_and_in_order(shared_dir):
    cases = json.loads((shared_dir / "golden" / "proposals.json").read_text())["cases"]
    assert len(cases) == 48
    for case in cases:
        size = tuple(case["segmentation"]["size"])
        mask = rle.decode(rle.from_segmentation(case["segmentation"], size))
        spec = PatchSpec(case["patch_size"], case["nms_iou"], compat_2021=True)
        assert in_window(mask, spec).tolist() == case["boxes"], case["name"]


@given(masks, st.sampled_from([4, 8, 16]), st.sampled_from([0.25, 0.55, 1.0]), st.booleans())
def test_a_window_gives_the_boxes_of_the_whole_mask(mask, size, nms_iou, compat):
    spec = PatchSpec(size, nms_iou, compat_2021=compat)
    np.testing.assert_array_equal(in_window(mask, spec), propose_boxes(mask, spec))


@given(masks, st.sampled_from([2, 8, 16]))
def test_with_nms_off_every_boundary_pixel_is_covered(mask, size):
    covered = np.zeros(mask.shape, bool)
    for x1, y1, x2, y2 in propose_boxes(mask, PatchSpec(size, 1.0)).tolist():
        covered[y1:y2, x1:x2] = True
    assert covered[boundary_strength(mask) > 0].all()


@given(masks, st.sampled_from([4, 16]), st.sampled_from([0.25, 0.55]))
def test_boxes_stay_inside_images_that_are_larger_and_start_at_zero_in_smaller_ones(mask, size, nms_iou):
    height, width = mask.shape
    for x1, y1, x2, y2 in propose_boxes(mask, PatchSpec(size, nms_iou)).tolist():
        assert (x2 - x1, y2 - y1) == (size, size)
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= max(width, size)
        assert y2 <= max(height, size)


@given(masks, st.sampled_from([0.15, 0.25, 0.55]))
def test_nms_keeps_what_torchvision_keeps(mask, nms_iou):
    framed = np.pad(mask, 20)  # so wide that no box has to be moved back
    strength = boundary_strength(framed)
    ys, xs = np.nonzero(strength)
    order = np.argsort(-strength[ys, xs].astype(int), kind="stable")  # torchvision's ties: first come, first kept
    corners = np.stack([xs, ys], axis=1)[order] - 5
    boxes = torch.from_numpy(np.concatenate([corners, corners + 10], axis=1))
    scores = torch.from_numpy(strength[ys, xs][order].astype(np.float32) / 4.5)
    kept = boxes[nms(boxes.float(), scores, nms_iou)]
    np.testing.assert_array_equal(propose_boxes(framed, PatchSpec(10, nms_iou)), kept.numpy())


@pytest.mark.parametrize("compat", [False, True])
def test_an_empty_mask_gives_no_boxes(compat):
    assert propose_boxes(np.zeros((100, 100), bool), PatchSpec(compat_2021=compat)).shape == (0, 4)


def test_a_full_mask_has_no_boundary_unless_the_border_counts():
    full = np.ones((100, 100), bool)
    assert len(propose_boxes(full, PatchSpec())) == 0
    assert len(propose_boxes(full, PatchSpec(image_border=True))) > 0


def test_a_one_pixel_mask_gives_one_box_around_it():
    mask = np.zeros((200, 200), bool)
    mask[100, 90] = True
    (x1, y1, x2, y2) = propose_boxes(mask, PatchSpec())[0]
    assert x1 <= 90 < x2
    assert y1 <= 100 < y2


def test_the_last_row_and_column_are_covered_by_default_and_never_in_2021():
    mask = np.zeros((100, 100), bool)
    mask[60:, 60:] = True
    mask[90:, 95] = False
    assert propose_boxes(mask, PatchSpec())[:, 2:].max() == 100
    assert propose_boxes(mask, PatchSpec(compat_2021=True))[:, 2:].max() == 99


def test_images_not_larger_than_a_patch_are_skipped_in_2021_only():
    mask = np.zeros((64, 200), bool)
    mask[20:40, 50:90] = True
    assert len(propose_boxes(mask, PatchSpec(compat_2021=True))) == 0
    assert len(propose_boxes(mask, PatchSpec())) > 0


def test_a_one_by_one_image_works():
    assert len(propose_boxes(np.ones((1, 1), bool), PatchSpec())) == 0
    boxes = propose_boxes(np.ones((1, 1), bool), PatchSpec(image_border=True))
    assert boxes.tolist() == [[0, 0, 64, 64]]


def test_holes_and_parts_are_all_reached():
    mask = np.zeros((300, 300), bool)
    mask[20:140, 20:140] = True
    mask[60:100, 60:100] = False
    mask[200:280, 200:280] = True
    boxes = propose_boxes(mask, PatchSpec(32))
    for x, y in [(20, 80), (60, 80), (200, 240)]:
        assert any(x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in boxes.tolist())


def test_a_window_that_cuts_through_the_foreground_is_refused():
    with pytest.raises(ValueError, match="left side: grow it"):
        propose_boxes(np.ones((10, 10), bool), PatchSpec(4), origin=(5, 0), size=(10, 15))


@pytest.mark.parametrize(("size", "nms_iou"), [(63, 0.25), (0, 0.25), (64, 0.0), (64, 1.5)])
def test_impossible_specs_are_refused(size, nms_iou):
    with pytest.raises(ValueError, match=r"patch\.(size|nms_iou)"):
        PatchSpec(size, nms_iou)


def test_crop_repeats_the_outermost_pixels_outside_of_the_image():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (patch,) = crop(image, np.array([[-1, -2, 3, 2]]))
    assert patch.tolist() == [[0, 0, 1, 2], [0, 0, 1, 2], [0, 0, 1, 2], [4, 4, 5, 6]]


def test_crop_of_no_boxes_is_empty():
    assert crop(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.int64)).shape == (0, 0, 0, 3)


def test_crop_refuses_boxes_of_several_sizes():
    with pytest.raises(ValueError, match="one common size"):
        crop(np.zeros((9, 9), np.uint8), np.array([[0, 0, 2, 2], [0, 0, 3, 3]]))
