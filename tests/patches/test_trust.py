import numpy as np
import pytest

from bpr.patches.cutting import PlacedMask
from bpr.patches.pasting import TRUSTED, paste_patches
from bpr.patches.trust import Evidence, gather_evidence, keep_share
from bpr.patches.windows import MaskWindow

SIDE = 64
BOXES = np.array([[0, 0, SIDE, SIDE]])


def square(grown=0):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20 - grown : 44 + grown, 20 - grown : 44 + grown] = True
    return mask


def pasted(probability, trust):
    answers = np.stack([probability, np.full(probability.shape, trust)])[None].astype(np.float32)
    mask = MaskWindow(0, square(), (0, 0, SIDE, SIDE))
    return paste_patches(PlacedMask(mask, BOXES), answers, keep_probabilities=True)


def test_evidence_is_counted_in_pixels_of_boundary():
    probability = np.where(square(1), 0.9, 0.1).astype(np.float32)
    trust = np.full((SIDE, SIDE), np.nan, np.float32)
    trust[:32] = 3.0
    trust[32:] = 1.0
    found = gather_evidence(square(), probability, trust, SIDE)
    assert found.trust == pytest.approx(2.0)
    assert found.change == pytest.approx((26**2 - 24**2) / 96, rel=0.05)
    assert found.unsure == pytest.approx(0.09 * SIDE**2 / 96, rel=0.05)
    twice = gather_evidence(square(), probability, trust, 2 * SIDE)
    assert twice.change == pytest.approx(found.change / 2)


def test_the_more_a_mask_is_trusted_and_the_less_is_certain_the_rather_it_is_kept():
    base = keep_share(Evidence(0.0, 0.5, 0.5))
    assert keep_share(Evidence(1.0, 0.5, 0.5)) > base > keep_share(Evidence(-1.0, 0.5, 0.5))
    assert keep_share(Evidence(0.0, 0.1, 0.5)) > base > keep_share(Evidence(0.0, 2.0, 0.5))
    assert keep_share(Evidence(0.0, 0.5, 1.0)) > base > keep_share(Evidence(0.0, 0.5, 0.1))
    assert keep_share(Evidence(1e9, 0.0, 0.0)) == pytest.approx(1)


def test_a_trusted_mask_stays_and_a_doubted_one_is_replaced():
    smaller = np.where(square(-2), 0.95, 0.0)
    trusted, doubted = pasted(smaller, 9.0), pasted(smaller, -9.0)
    np.testing.assert_array_equal(trusted.mask, square())
    assert trusted.reason == TRUSTED
    assert trusted.patches == 1
    np.testing.assert_array_equal(doubted.mask, smaller > 0.5)
    assert doubted.reason is None


def test_what_an_earlier_round_has_refined_counts_as_refined_although_it_is_trusted_now():
    answers = np.stack([square(), np.full((SIDE, SIDE), 9.0)])[None].astype(np.float32)
    mask = MaskWindow(0, square(), (0, 0, SIDE, SIDE), patches=3, reason=None)
    refined = paste_patches(PlacedMask(mask, BOXES), answers)
    assert refined.reason is None
    assert refined.patches == 4


def test_the_probabilities_are_mixed_with_the_mask():
    probability = np.full((SIDE, SIDE), 0.5)
    refined = pasted(probability, -9.0)
    trust = np.full((SIDE, SIDE), -9.0, np.float32)
    keep = keep_share(gather_evidence(square(), probability.astype(np.float32), trust, SIDE))
    np.testing.assert_allclose(refined.probabilities, keep * square() + (1 - keep) * 0.5, atol=1e-6)


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)])
def test_a_mask_without_boundary_is_not_judged(mask):
    assert gather_evidence(mask, mask.astype(np.float32), np.zeros(mask.shape, np.float32), SIDE) is None
    assert keep_share(None) == 0
    uncovered = np.full(mask.shape, np.nan, np.float32)
    assert gather_evidence(square(), square().astype(np.float32), uncovered, SIDE) is None
