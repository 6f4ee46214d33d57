import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpr import rle
from bpr.formats.polygons import trace, trace_joined

SIZE = (60, 80)
GRID = np.mgrid[: SIZE[0], : SIZE[1]]


def drawn(polygons, size=SIZE):
    return rle.decode(rle.from_segmentation(polygons, size))


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def without_holes(mask):
    """Background that is not connected to the border of the image is filled."""
    outside = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside != 2)[1:-1, 1:-1]


@st.composite
def blobs(draw):
    """Smooth or ragged shapes, discs, thin lines and single pixels, also cut off by the border of the image."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.zeros(SIZE, np.uint8)
    for kind in draw(st.lists(st.sampled_from(["noise", "disc", "line", "pixels"]), min_size=1, max_size=3)):
        x, y, x2, y2 = rng.integers(-10, 90, 4).tolist()
        if kind == "noise":
            smooth = cv2.GaussianBlur(rng.normal(size=SIZE), (0, 0), rng.uniform(0.5, 6))
            mask |= (smooth > smooth.std()).astype(np.uint8)
        elif kind == "disc":
            cv2.circle(mask, (x, y), int(rng.integers(1, 40)), 1, -1)
        elif kind == "line":
            cv2.line(mask, (x, y), (x2, y2), 1, int(rng.integers(1, 5)))
        else:
            mask |= (rng.random(SIZE) < 0.05).astype(np.uint8)
    return mask.astype(np.bool_)


@settings(max_examples=400, deadline=None)
@given(blobs())
def test_drawing_the_polygons_gives_the_mask(mask):
    polygons, holes = trace(rle.encode(mask))
    whole, _ = trace(rle.encode(mask), whole=True)
    filled = without_holes(mask)
    assert np.array_equal(drawn(polygons), filled)
    assert np.array_equal(drawn(whole), filled)
    assert all(number == int(number) for polygon in whole for number in polygon)
    assert (holes > 0) == (filled != mask).any()


@settings(max_examples=200, deadline=None)
@given(blobs())
def test_one_polygon_of_all_parts_draws_the_same(mask):
    polygons, holes = trace(rle.encode(mask))
    if polygons:
        joined, holes_of_joined = trace_joined(rle.encode(mask))
        assert np.array_equal(drawn([joined]), drawn(polygons))
        assert holes_of_joined == holes


@pytest.mark.parametrize("radius", [1, 2, 5.5, 20, 29])
def test_discs_are_exact(radius):
    mask = (GRID[0] - 30) ** 2 + (GRID[1] - 40) ** 2 <= radius**2
    polygons, holes = trace(rle.encode(mask))
    assert np.array_equal(drawn(polygons), mask)
    assert (len(polygons), holes) == (1, 0)


def test_a_rectangle_has_its_corners_cut_and_nothing_between():
    mask = np.zeros(SIZE, np.bool_)
    mask[10:20, 30:50] = True
    ((*polygon,),), _ = trace(rle.encode(mask))
    points = {(polygon[n], polygon[n + 1]) for n in range(0, len(polygon), 2)}
    assert len(points) == len(polygon) / 2 == 8
    assert {(30.5, 10), (49.5, 10), (50, 10.5), (30, 19.5)} <= points


def test_a_rectangle_along_pixels_has_four_corners():
    mask = np.zeros(SIZE, np.bool_)
    mask[10:20, 30:50] = True
    ((*polygon,),), _ = trace(rle.encode(mask), whole=True)
    assert len(polygon) == 8
    assert {(polygon[n], polygon[n + 1]) for n in range(0, 8, 2)} == {(30, 10), (50, 10), (50, 20), (30, 20)}


def test_a_whole_image_is_one_polygon():
    mask = np.ones(SIZE, np.bool_)
    polygons, _ = trace(rle.encode(mask))
    assert len(polygons) == 1
    assert drawn(polygons).all()


def test_parts_become_polygons_and_pixels_that_touch_at_a_corner_stay_together():
    mask = np.zeros(SIZE, np.bool_)
    mask[2:5, 2:5] = mask[5:8, 5:8] = mask[20:30, 20:30] = True
    polygons, _ = trace(rle.encode(mask))
    assert len(polygons) == 2
    assert np.array_equal(drawn(polygons), mask)


def test_holes_are_counted_and_filled_with_all_that_is_in_them():
    mask = np.zeros(SIZE, np.bool_)
    mask[5:50, 5:50] = True
    mask[10:20, 10:20] = mask[30:32, 30:32] = False
    mask[14:16, 14:16] = True
    polygons, holes = trace(rle.encode(mask))
    assert (len(polygons), holes) == (1, 2)
    assert np.array_equal(drawn(polygons), without_holes(mask))


def test_an_empty_mask_has_no_polygon():
    assert trace(rle.encode(np.zeros(SIZE, np.bool_))) == ([], 0)


def test_a_tolerance_saves_points_and_costs_little():
    mask = (GRID[0] - 30) ** 2 + ((GRID[1] - 40) / 1.3) ** 2 <= 25**2
    exact, thinned = (trace(rle.encode(mask), tolerance)[0] for tolerance in (0, 1.0))
    assert len(thinned[0]) < len(exact[0]) / 3
    assert 0.95 < iou(drawn(thinned), mask) < 1


def test_a_part_smaller_than_the_tolerance_stays():
    mask = np.zeros(SIZE, np.bool_)
    mask[7, 9] = True
    assert np.array_equal(drawn(trace(rle.encode(mask), 5.0)[0]), mask)
