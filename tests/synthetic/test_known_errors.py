import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bpr.structures import Mask
from bpr.synthetic.known_errors import CLICKED, KNOWN_ERRORS, clicked, dilated, eroded, shifted

masks = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30))


def square(size: int = 40, first: int = 10, last: int = 30) -> Mask:
    mask = np.zeros((size, size), np.bool_)
    mask[first:last, first:last] = True
    return mask


@given(masks, st.sampled_from([*KNOWN_ERRORS]))
def test_every_error_keeps_shape_and_argument_and_gives_the_same_again(mask: Mask, name: str) -> None:
    given_mask = mask.copy()
    made = KNOWN_ERRORS[name](mask)
    assert made.shape == mask.shape
    assert made.dtype == np.bool_
    assert not np.shares_memory(made, mask)
    np.testing.assert_array_equal(mask, given_mask)
    np.testing.assert_array_equal(made, KNOWN_ERRORS[name](mask))


def test_the_names_say_what_is_done() -> None:
    true = square()
    expected = {
        "truth": true,
        "shifted 1 px": shifted(true, 1),
        "dilated 1 px": dilated(true, 1),
        "dilated 2 px": dilated(true, 2),
        "eroded 2 px": eroded(true, 2),
        "dilated 5 px": dilated(true, 5),
        "polygon": clicked(true),
    }
    assert list(KNOWN_ERRORS) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(KNOWN_ERRORS[name](true), mask)


def test_shifted_moves_right_and_loses_what_leaves_the_image() -> None:
    mask = np.array([[0, 1, 0, 1]], np.bool_)
    np.testing.assert_array_equal(shifted(mask, 1), np.array([[0, 0, 1, 0]], np.bool_))
    assert not shifted(mask, 9).any()


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_sides_move_by_the_pixels_and_corners_are_round(pixels: int) -> None:
    grown = dilated(square(), pixels)
    row = np.flatnonzero(grown[20])
    assert (row[0], row[-1]) == (10 - pixels, 29 + pixels)
    assert not grown[10 - pixels, 10 - pixels]
    shrunk = np.flatnonzero(eroded(square(), pixels)[20])
    assert (shrunk[0], shrunk[-1]) == (10 + pixels, 29 - pixels)


def test_nothing_is_eroded_at_the_border_of_the_image_and_thin_masks_vanish() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[:, :10] = True
    np.testing.assert_array_equal(eroded(mask, 2), np.arange(20)[None, :] < np.full((20, 1), 8))
    assert not eroded(square(20, 8, 12), 2).any()


@given(masks)
def test_a_clicked_mask_is_empty_exactly_if_the_mask_is(mask: Mask) -> None:
    assert clicked(mask).any() == mask.any()


def test_clicking_keeps_straight_outlines_and_holes_and_thins_round_ones() -> None:
    np.testing.assert_array_equal(clicked(square()), square())
    ring = square(80, 10, 70) & ~square(80, 30, 50)
    np.testing.assert_array_equal(clicked(ring) | square(80, 30, 50), square(80, 10, 70))
    assert not clicked(ring)[31:49, 31:49].any()
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 < 80**2
    polygon = clicked(disc)
    assert 0.9 < (polygon & disc).sum() / (polygon | disc).sum() < 0.99
    distance = np.hypot(rows - 100, columns - 100)[polygon != disc]
    assert np.abs(distance - 80).max() <= CLICKED * np.sqrt(disc.sum()) + 1


def test_clicked_parts_that_touch_do_not_erase_each_other() -> None:
    mask = np.zeros((60, 60), np.bool_)
    rows, columns = np.mgrid[:60, :60]
    mask |= (rows - 30) ** 2 + (columns - 15) ** 2 < 14**2
    mask |= (rows - 30) ** 2 + (columns - 44) ** 2 < 14**2
    assert clicked(mask)[30].sum() >= mask[30].sum() - 4
