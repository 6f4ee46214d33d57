import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bpr import rle
from bpr.patches.cutting import PlacedMask, crop, propose_boxes
from bpr.patches.pasting import EMPTIED, mean_of_patches, paste_patches
from bpr.patches.windows import MaskWindow
from bpr.structures import PatchSpec


def whole(mask):
    return MaskWindow(0, mask, (0, 0, mask.shape[1], mask.shape[0]))


def paste(mask, probabilities, boxes, threshold=0.5, taper=0):
    placed = PlacedMask(whole(mask), boxes)
    return paste_patches(placed, probabilities, threshold, keep_emptied=False, taper=taper).mask


masks = arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@pytest.mark.parametrize("name", ["disk", "star", "touches_border"])
def test_reassembly_equals_the_reference(shared_dir, name):
    golden = np.load(shared_dir / "golden" / "reassembly.npz")
    coarse = rle.decode(json.loads(str(golden[f"{name}_coarse"])))
    refined = paste(coarse, golden[f"{name}_probabilities"].astype(np.float32), golden[f"{name}_boxes"])
    np.testing.assert_array_equal(refined, rle.decode(json.loads(str(golden[f"{name}_refined"]))))


@given(masks, st.sampled_from([2, 6, 16, 40]), st.sampled_from([0.25, 0.8, 1.0]), st.booleans(), st.floats(0, 0.5))
def test_pasting_back_what_was_cut_changes_nothing(mask, size, nms_iou, border, taper):
    boxes = propose_boxes(mask, PatchSpec(size, nms_iou, image_border=border))
    if len(boxes):
        np.testing.assert_array_equal(paste(mask, crop(mask, boxes).astype(np.float32), boxes, taper=taper), mask)


@given(masks, st.integers(0, 2**32 - 1))
def test_nothing_changes_outside_of_the_boxes(mask, seed):
    boxes = propose_boxes(mask, PatchSpec(8, 0.25))
    probabilities = np.random.default_rng(seed).random((len(boxes), 8, 8), np.float32)
    changed = paste(mask, probabilities, boxes) != mask
    for x1, y1, x2, y2 in boxes.tolist():
        changed[y1:y2, x1:x2] = False
    assert not changed.any()


def test_overlapping_patches_are_averaged_with_equal_weight():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2]])
    probabilities = np.array([0.9, 0.9, 0.0], np.float32)[:, None, None] * np.ones((3, 2, 2), np.float32)
    assert paste(np.zeros((2, 2), bool), probabilities, boxes).all()
    assert not paste(np.zeros((2, 2), bool), probabilities, boxes, threshold=0.6).any()


def test_with_taper_a_patch_counts_less_towards_its_edges():
    boxes = np.array([[0, 0, 8, 8], [4, 0, 12, 8]])
    patches = np.stack([np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)])
    means = mean_of_patches(patches, boxes, np.full((8, 12), 0.3, np.float32), taper=0.25)
    np.testing.assert_array_equal(means[:, :4], 1)
    np.testing.assert_allclose(means[4, 4:8], [0.8, 4 / 7, 3 / 7, 0.2], atol=1e-6)
    np.testing.assert_allclose(means[0, 4:8], 0.5)
    np.testing.assert_array_equal(means[:, 8:], 0)


def test_a_probability_at_the_threshold_is_background():
    boxes = np.array([[0, 0, 2, 2]])
    assert not paste(np.ones((2, 2), bool), np.full((1, 2, 2), 0.5, np.float32), boxes).any()


def test_without_patches_the_mask_stays():
    coarse = np.eye(4, dtype=bool)
    placed = PlacedMask(whole(coarse), np.zeros((0, 4), np.int64))
    refined = paste_patches(placed, np.zeros((0, 2, 2), np.float32), keep_probabilities=True)
    np.testing.assert_array_equal(refined.mask, coarse)
    np.testing.assert_array_equal(refined.probabilities, coarse)
    assert refined.reason is not None


def test_probabilities_do_not_outlive_the_window_they_are_of():
    coarse = np.zeros((9, 9), bool)
    coarse[2:5, 2:5] = True
    placed = PlacedMask(whole(coarse), np.array([[0, 0, 9, 9]]))
    emptied = paste_patches(placed, np.zeros((1, 9, 9), np.float32), keep_emptied=False, keep_probabilities=True)
    assert emptied.probabilities is not None
    assert emptied.fit(0, (9, 9)).probabilities is None


@pytest.mark.parametrize("shape", [(1, 3, 2), (2, 2, 2)])
def test_patches_that_do_not_fit_their_boxes_are_refused(shape):
    with pytest.raises(ValueError, match="box"):
        mean_of_patches(np.zeros(shape, np.float32), np.array([[0, 0, 2, 2]]), np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("keep", [False, True])
def test_a_mask_of_which_nothing_would_be_left_is_kept_only_if_asked(keep):
    coarse = np.eye(4, dtype=bool)
    placed = PlacedMask(whole(coarse), np.array([[0, 0, 4, 4]]))
    refined = paste_patches(placed, np.zeros((1, 4, 4), np.float32), keep_emptied=keep)
    assert refined.mask.any() == keep
    assert refined.reason == (EMPTIED if keep else None)
    assert refined.patches == 1


@pytest.mark.parametrize("seen_at", [8, 32])
def test_patches_seen_at_another_size_are_resized_to_their_boxes(seen_at):
    half = np.zeros((1, seen_at, seen_at), np.float32)
    half[:, :, : seen_at // 2] = 1
    assert (paste(np.zeros((16, 16), bool), half, np.array([[0, 0, 16, 16]]))[:, :8]).all()
    assert not paste(np.zeros((16, 16), bool), half, np.array([[0, 0, 16, 16]]))[:, 8:].any()
