import numpy as np
import pytest

from bpr.patches.cutting import PlacedMask, place_patches
from bpr.patches.pasting import paste_patches
from bpr.patches.trust import TRUSTED, Evidence, gather_evidence, is_trusted
from bpr.patches.windows import MaskWindow
from bpr.structures import PatchSpec, Round

SIDE = 64
BOXES = np.array([[0, 0, SIDE, SIDE]])


def square(grown=0):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20 - grown : 44 + grown, 20 - grown : 44 + grown] = True
    return mask


def pasted(probability, trust, kind=Round.boundary, last=True):
    answers = np.stack([probability, np.full(probability.shape, trust)])[None].astype(np.float32)
    mask = MaskWindow(0, square(), (0, 0, SIDE, SIDE))
    return paste_patches(PlacedMask(mask, BOXES, kind), answers, keep_probabilities=True, last=last)


def test_evidence_is_counted_in_pixels_of_boundary():
    probability = np.where(square(1), 0.9, 0.1).astype(np.float32)
    trust = np.full((SIDE, SIDE), np.nan, np.float32)
    trust[:32] = 3.0
    trust[32:] = 1.0
    found = gather_evidence(square(), probability, trust, SIDE)
    assert found.trust == pytest.approx(2.0)
    assert found.blur == pytest.approx(np.log(0.09 * SIDE**2 / 96), abs=0.06)
    twice = gather_evidence(square(), probability, trust, 2 * SIDE)
    assert twice.blur == pytest.approx(found.blur - np.log(2), abs=0.02)


def test_a_mask_is_kept_where_it_is_trusted_or_the_networks_own_boundary_is_blurred():
    assert is_trusted(Evidence(2.0, -0.5))
    assert not is_trusted(Evidence(-2.0, -0.5))
    assert is_trusted(Evidence(-0.5, 1.0))
    assert not is_trusted(Evidence(-0.5, -1.0))


def test_what_a_first_look_trusts_is_left_to_the_next_round():
    smaller = np.where(square(-2), 0.95, 0.0)
    first, last = (pasted(smaller, 9.0, Round.object, last) for last in (False, True))
    for mask in (first, last):
        np.testing.assert_array_equal(mask.mask, square())
    assert first.reason == MaskWindow.of(0, square()).reason
    assert last.reason == TRUSTED


def test_what_a_first_look_would_hardly_change_is_left_to_the_next_round():
    nearly, far = (np.where(square(grown), 0.95, 0.0) for grown in (0, -2))
    nearly[20, 20] = 0.0
    left = pasted(nearly, -9.0, Round.object, last=False)
    np.testing.assert_array_equal(left.mask, square())
    assert left.reason == MaskWindow.of(0, square()).reason  # so that the next round judges it
    assert left.patches == 1
    for changed in (
        pasted(nearly, -9.0, Round.object, last=True),
        pasted(nearly, -9.0, Round.boundary, last=False),
        pasted(far, -9.0, Round.object, last=False),
    ):
        assert changed.reason is None
        assert not np.array_equal(changed.mask, square())


def test_a_trusted_mask_stays_and_a_doubted_one_is_replaced():
    smaller = np.where(square(-2), 0.95, 0.0)
    trusted, doubted = pasted(smaller, 9.0), pasted(smaller, -9.0)
    np.testing.assert_array_equal(trusted.mask, square())
    assert trusted.reason == TRUSTED
    assert trusted.patches == 1
    np.testing.assert_array_equal(doubted.mask, smaller > 0.5)
    assert doubted.reason is None


def test_what_an_earlier_round_has_refined_counts_as_refined_although_it_is_trusted_now():
    answers = np.stack([square(1), np.full((SIDE, SIDE), 9.0)])[None].astype(np.float32)
    mask = MaskWindow(0, square(), (0, 0, SIDE, SIDE), patches=3, reason=None)
    refined = paste_patches(PlacedMask(mask, BOXES), answers)
    assert refined.reason is None
    np.testing.assert_array_equal(refined.mask, square(1))
    assert refined.patches == 4


def test_a_trusted_mask_has_no_patches_in_later_rounds():
    spec, size = PatchSpec(32), (SIDE, SIDE)
    coarse = MaskWindow.of(0, square())
    assert len(place_patches(coarse, Round.boundary, spec, size).boxes)
    trusted = place_patches(coarse.leave(TRUSTED), Round.boundary, spec, size)
    assert len(trusted.boxes) == 0
    assert trusted.mask.reason == TRUSTED


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)])
def test_a_mask_without_boundary_is_not_judged(mask):
    assert gather_evidence(mask, mask.astype(np.float32), np.zeros(mask.shape, np.float32), SIDE) is None
    assert not is_trusted(None)
    uncovered = np.full(mask.shape, np.nan, np.float32)
    assert gather_evidence(square(), square().astype(np.float32), uncovered, SIDE) is None
