import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bpr.patches.boundary import boundary_band, boundary_strength, inner_boundary

masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_strength_is_highest_where_the_neighbourhood_is_split_evenly():
    mask = np.zeros((6, 6), bool)
    mask[:, 3:] = True
    assert boundary_strength(mask)[3].tolist() == [0, 0, 3, 3, 0, 0]


def test_border_of_the_image_is_a_boundary_only_on_request():
    full = np.ones((5, 7), bool)
    assert not (boundary_strength(full) > 0).any()
    with_border = boundary_strength(full, image_border=True) > 0
    assert with_border[0].all()
    assert with_border[:, -1].all()
    assert not with_border[2, 3]


@given(masks)
def test_a_pixel_is_boundary_exactly_if_a_neighbour_differs(mask):
    height, width = mask.shape
    for y, x in np.ndindex(mask.shape):
        neighbours = mask[max(y - 1, 0) : min(y + 2, height), max(x - 1, 0) : min(x + 2, width)]
        assert (boundary_strength(mask)[y, x] > 0) == (neighbours != mask[y, x]).any()


@given(masks, st.integers(1, 4))
def test_band_holds_the_pixels_with_the_other_side_within_its_width(mask, width):
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]]
    band = boundary_band(mask, width)
    for y, x in np.ndindex(mask.shape):
        other = mask != mask[y, x]
        distance = np.hypot(ys[other] - y, xs[other] - x)
        assert band[y, x] == (distance <= width + 1e-4).any()


def test_band_without_width_is_refused():
    with pytest.raises(ValueError, match="at least 1 px"):
        boundary_band(np.ones((3, 3), bool), 0)


def test_nothing_gives_nothing():
    assert boundary_strength(np.zeros((0, 5), bool)).shape == (0, 5)
    assert not boundary_band(np.zeros((4, 4), bool), 2).any()


def test_the_inner_boundary_is_the_outermost_pixels_of_the_mask_but_not_at_the_border_of_the_image():
    half = np.zeros((6, 8), bool)
    half[:, :4] = True
    assert np.argwhere(inner_boundary(half)).tolist() == [[y, 3] for y in range(6)]
    assert not inner_boundary(np.ones((6, 8), bool)).any()
