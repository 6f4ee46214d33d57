import numpy as np
import pytest

from bpr.patches.cutting import PlacedMask
from bpr.patches.pasting import paste_patches
from bpr.patches.trust import keep_share
from bpr.patches.windows import MaskWindow

SIDE = 40
BOXES = np.array([[0, 0, SIDE, SIDE]])


def square():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:30, 10:30] = True
    return mask


def pasted(probability, trust):
    answers = np.stack([probability, np.broadcast_to(np.float32(trust), probability.shape)])[None].astype(np.float32)
    mask = MaskWindow(0, square(), (0, 0, SIDE, SIDE))
    return paste_patches(PlacedMask(mask, BOXES), answers, keep_probabilities=True)


def test_the_more_a_mask_is_trusted_the_more_of_it_is_kept():
    shares = [keep_share(square(), np.full((SIDE, SIDE), trust, np.float32)) for trust in (-9, -2, -0.5, 0, 2, 9)]
    assert all((share == share[0, 0]).all() for share in shares)
    values = [float(share[0, 0]) for share in shares]
    assert values == sorted(values)
    assert values[0] < 0.001
    assert values[-1] > 0.999


def test_a_trusted_mask_stays_and_a_doubted_one_is_replaced():
    smaller = np.zeros((SIDE, SIDE))
    smaller[12:28, 12:28] = 0.9
    np.testing.assert_array_equal(pasted(smaller, 3.0).mask, square())
    np.testing.assert_array_equal(pasted(smaller, -3.0).mask, smaller > 0.5)


def test_a_part_that_is_worse_than_the_whole_is_replaced_alone():
    """A corner is missing from a mask whose boundary is right elsewhere."""
    probability = square().astype(np.float64)
    probability[30:36, 30:36] = 1.0
    trust = np.full((SIDE, SIDE), 1.0)
    trust[26:, 26:] = -6.0
    refined = pasted(probability, trust).mask
    assert refined[31:35, 31:35].all()
    np.testing.assert_array_equal(refined[:26], square()[:26])


def test_what_no_patch_covers_says_nothing_of_the_mask():
    trust = np.full((SIDE, SIDE), np.nan, np.float32)
    assert (keep_share(square(), trust) == 0).all()
    trust[:20] = 2.0
    half = keep_share(square(), trust)
    np.testing.assert_allclose(half[:20], keep_share(square(), np.full((SIDE, SIDE), 2.0, np.float32))[:20])


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)])
def test_a_mask_without_boundary_is_not_judged(mask):
    assert (keep_share(mask, np.full(mask.shape, 5.0, np.float32)) == 0).all()


def test_probabilities_that_are_kept_are_the_mixed_ones():
    refined = pasted(np.full((SIDE, SIDE), 0.5), -0.5)
    keep = keep_share(square(), np.full((SIDE, SIDE), -0.5, np.float32))
    expected = keep * square() + (1 - keep) * np.float32(0.5)
    np.testing.assert_allclose(refined.probabilities, expected, atol=1e-6)
