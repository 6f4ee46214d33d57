"""Boundary F: parity with a brute-force implementation, and the properties it must have."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bpr import rle as rle_codec
from bpr.evaluation.boundary_f import boundary_f, boundary_f_of_rles, boundary_tolerance
from bpr.structures import Mask

TOLERANCES = st.sampled_from([0, 1, 1.5, 2, 3])


@st.composite
def mask_pairs(draw: Any) -> tuple[Mask, Mask]:
    """Two masks of one shape: a few rectangles each, or noise; empty and full ones included."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    if draw(st.booleans()):
        mask = arrays.arrays(np.bool_, (height, width))
        return draw(mask), draw(mask)
    masks = []
    for _ in range(2):
        mask = np.zeros((height, width), np.bool_)
        for _ in range(draw(st.integers(0, 3))):
            y, x = draw(st.integers(0, height)), draw(st.integers(0, width))
            mask[y : y + draw(st.integers(1, 24)), x : x + draw(st.integers(1, 24))] = True
        masks.append(mask)
    return masks[0], masks[1]


def brute_force(predicted: Mask, true: Mask, tolerance: float) -> float:
    """Boundary F from the distances between all pairs of boundary pixels."""
    first, second = boundary_points(predicted), boundary_points(true)
    if not len(first) and not len(second):
        return float((predicted == true).all())
    if not len(first) or not len(second):
        return 0.0
    squared = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    precision = (squared.min(axis=1) <= tolerance**2).mean()
    recall = (squared.min(axis=0) <= tolerance**2).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary_points(mask: Mask) -> Any:
    """(n, 2) row and column of the foreground pixels with a background pixel above, below, left or right."""
    height, width = mask.shape
    found = [
        (y, x)
        for y, x in np.argwhere(mask)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= v < height and 0 <= u < width and not mask[v, u]
    ]
    return np.array(sorted(set(found)), np.int64).reshape(-1, 2)


@given(mask_pairs(), TOLERANCES)
def test_it_equals_a_brute_force_implementation(masks: tuple[Mask, Mask], tolerance: float) -> None:
    assert boundary_f(*masks, tolerance) == pytest.approx(brute_force(*masks, tolerance))


@given(mask_pairs(), TOLERANCES)
def test_the_windowed_variant_equals_that_of_the_whole_image(masks: tuple[Mask, Mask], tolerance: float) -> None:
    rles = [rle_codec.encode(mask) for mask in masks]

    assert boundary_f_of_rles(rles[0], rles[1], tolerance) == pytest.approx(boundary_f(*masks, tolerance))


@given(mask_pairs(), TOLERANCES)
def test_it_is_symmetric_and_between_0_and_1(masks: tuple[Mask, Mask], tolerance: float) -> None:
    predicted, true = masks
    found = boundary_f(predicted, true, tolerance)

    assert 0 <= found <= 1
    assert found == pytest.approx(boundary_f(true, predicted, tolerance))


@given(mask_pairs(), TOLERANCES)
def test_equal_masks_score_1(masks: tuple[Mask, Mask], tolerance: float) -> None:
    assert boundary_f(masks[0], masks[0].copy(), tolerance) == 1


@given(mask_pairs())
def test_a_wider_tolerance_never_scores_less(masks: tuple[Mask, Mask]) -> None:
    scores = [boundary_f(*masks, tolerance) for tolerance in (0, 1, 2, 4)]

    assert scores == sorted(scores)


@given(mask_pairs())
def test_the_masks_are_not_modified(masks: tuple[Mask, Mask]) -> None:
    copies = [mask.copy() for mask in masks]
    boundary_f(*masks, 1)

    assert all(np.array_equal(mask, copy) for mask, copy in zip(masks, copies, strict=True))


def test_masks_without_a_boundary_agree_only_if_they_are_equal() -> None:
    empty, full, square = np.zeros((9, 9), np.bool_), np.ones((9, 9), np.bool_), np.zeros((9, 9), np.bool_)
    square[3:6, 3:6] = True

    assert boundary_f(empty, empty, 1) == boundary_f(full, full, 1) == 1
    assert boundary_f(empty, full, 1) == boundary_f(full, empty, 1) == 0
    assert boundary_f(empty, square, 1) == boundary_f(square, full, 1) == 0
    assert boundary_f(np.zeros((0, 0), np.bool_), np.zeros((0, 0), np.bool_), 1) == 1


def test_a_square_that_is_moved_by_one_pixel_is_within_one_pixel() -> None:
    square, moved = np.zeros((20, 20), np.bool_), np.zeros((20, 20), np.bool_)
    square[5:12, 5:12] = moved[5:12, 6:13] = True

    assert boundary_f(square, moved, 1) == 1
    assert boundary_f(square, moved, 0) == pytest.approx(12 / 24)  # 24 boundary pixels each; top and bottom overlap


def test_the_default_tolerance_is_that_of_the_size_of_the_image() -> None:
    square, moved = np.zeros((1024, 2048), np.bool_), np.zeros((1024, 2048), np.bool_)
    square[100:200, 100:200] = moved[103:203, 100:200] = True
    rles = rle_codec.encode(square), rle_codec.encode(moved)

    assert boundary_tolerance((1024, 2048)) == 3
    assert boundary_f_of_rles(*rles) == 1
    assert boundary_f_of_rles(*rles, 2) < 1


@pytest.mark.parametrize(("size", "tolerance"), [((1, 1), 1), ((480, 640), 1), ((1024, 2048), 3), ((900, 1600), 2)])
def test_the_tolerance_grows_with_the_diagonal(size: tuple[int, int], tolerance: int) -> None:
    assert boundary_tolerance(size) == tolerance


def test_masks_that_do_not_fit_together_are_refused() -> None:
    small, large = np.zeros((4, 4), np.bool_), np.zeros((4, 5), np.bool_)

    with pytest.raises(ValueError, match="one shape"):
        boundary_f(small, large, 1)
    with pytest.raises(ValueError, match="one size"):
        boundary_f_of_rles(rle_codec.encode(small), rle_codec.encode(large))
    with pytest.raises(ValueError, match="at least 0"):
        boundary_f(small, small, -1)
