import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bpr.structures import Mask
from bpr.synthetic.coarse_masks import SimulationSpec, simulate_coarse
from bpr.synthetic.distortions import polygon_mask

PROBABILITIES = [field.name for field in dataclasses.fields(SimulationSpec) if field.name != "severity"]
UNSEEN_ON_A_DISC = {"exact", "smooth", "part_error", "thin_parts", "spill"}
masks = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
seeds = st.integers(0, 2**32 - 1)


def only(**fields: float) -> SimulationSpec:
    """The spec under which no error occurs but those that are given."""
    return SimulationSpec(**{**dict.fromkeys(PROBABILITIES, 0.0), **fields})


def disc(radius: int = 40, size: tuple[int, int] = (200, 300), at: tuple[int, int] = (150, 100)) -> Mask:
    canvas = np.zeros(size, np.uint8)
    cv2.circle(canvas, at, radius, 1, -1)
    return canvas.astype(np.bool_)


def nothing(mask: Mask) -> Mask:
    return np.zeros_like(mask)


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


@given(masks, seeds)
@settings(deadline=None)
def test_a_mask_keeps_its_shape_and_is_empty_exactly_if_the_truth_is(true: Mask, seed: int) -> None:
    others = np.random.default_rng(seed).random(true.shape) < 0.3

    coarse = simulate_coarse(true, others, np.random.default_rng(seed))

    assert coarse.shape == true.shape
    assert coarse.dtype == np.bool_
    assert coarse.any() == true.any()


@given(seeds, st.sampled_from([(0, 0), (0, 59), (39, 0), (39, 59), (20, 30)]))
@settings(deadline=None)
def test_a_mask_of_one_pixel_stays_where_it_is_to_within_the_margin(seed: int, at: tuple[int, int]) -> None:
    true = np.zeros((40, 60), np.bool_)
    true[at] = True

    rows, columns = np.nonzero(simulate_coarse(true, ~true, np.random.default_rng(seed)))

    assert np.abs(rows - at[0]).max() <= 8
    assert np.abs(columns - at[1]).max() <= 8


@given(masks, seeds)
@settings(deadline=None)
def test_the_same_seed_gives_the_same_mask_and_the_arguments_stay_as_they_were(true: Mask, seed: int) -> None:
    before = true.copy()
    first, second = (simulate_coarse(true, nothing(true), np.random.default_rng(seed)) for _ in range(2))

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(true, before)


@given(masks, seeds)
@settings(deadline=None)
def test_without_any_error_the_truth_comes_back(true: Mask, seed: int) -> None:
    coarse = simulate_coarse(true, ~true, np.random.default_rng(seed), only())

    np.testing.assert_array_equal(coarse, true)


@pytest.mark.parametrize("name", [name for name in PROBABILITIES if name not in UNSEEN_ON_A_DISC])
def test_each_error_alone_changes_a_disc_but_leaves_it_recognisable(name: str) -> None:
    true = disc()

    coarse = simulate_coarse(true, nothing(true), np.random.default_rng(0), only(**{name: 1.0}))

    assert 0.5 < iou(coarse, true) < 1


def test_a_mask_that_fills_the_image_can_be_degraded() -> None:
    true = np.ones((50, 60), np.bool_)
    errors = only(displacement=1.0, offset=1.0, thin_parts=1.0, extra_part=1.0)

    assert simulate_coarse(true, nothing(true), np.random.default_rng(0), errors).all()


def test_thin_parts_are_lost_and_the_body_stays() -> None:
    true = disc()
    true[98:102, 150:250] = True  # a stick of 4 px on a disc of 81 px

    coarse = simulate_coarse(true, nothing(true), np.random.default_rng(0), only(thin_parts=1.0))

    assert not coarse[:, 205:].any()
    assert coarse[disc(30)].all()


def test_a_mask_spills_into_others_that_it_touches_and_nowhere_else() -> None:
    true = disc()
    others = np.zeros_like(true)
    others[:, 170:] = True
    others &= ~true

    coarse = simulate_coarse(true, others, np.random.default_rng(0), only(spill=1.0))

    assert (coarse & others).any()
    assert not (coarse & ~true & ~others).any()


def test_prototype_masks_are_coarser_in_larger_images() -> None:
    spec = only(prototypes=1.0)

    def mean_iou(side: int) -> float:
        true = disc(20, (side, side), (side // 2, side // 2))
        rngs = [np.random.default_rng(seed) for seed in range(20)]
        return float(np.mean([iou(simulate_coarse(true, nothing(true), rng, spec), true) for rng in rngs]))

    assert mean_iou(4000) < mean_iou(640)


def test_a_mask_head_blunts_a_large_object_more_than_a_small_one() -> None:
    def wrong_pixels_per_boundary_pixel(radius: int) -> float:
        true = disc(radius, (500, 500), (250, 250))
        rngs = [np.random.default_rng(seed) for seed in range(20)]
        wrong = [simulate_coarse(true, nothing(true), rng, only(box_head=1.0)) ^ true for rng in rngs]
        return float(np.mean([w.sum() for w in wrong])) / radius

    assert wrong_pixels_per_boundary_pixel(200) > 2 * wrong_pixels_per_boundary_pixel(20)


def test_more_severe_errors_are_larger() -> None:
    true = disc()

    def mean_iou(severity: float) -> float:
        spec = SimulationSpec(severity=severity)
        rngs = [np.random.default_rng(seed) for seed in range(40)]
        return float(np.mean([iou(simulate_coarse(true, nothing(true), rng, spec), true) for rng in rngs]))

    assert mean_iou(2.0) < mean_iou(1.0) < mean_iou(0.3)


def test_defaults_give_masks_as_good_as_those_of_real_segmenters() -> None:
    def median_iou(radius: int) -> float:
        true = disc(radius, (480, 640), (300, 240))
        rngs = [np.random.default_rng(seed) for seed in range(100)]
        return float(np.median([iou(simulate_coarse(true, nothing(true), rng), true) for rng in rngs]))

    # YOLOv5n-seg and YOLOv8n-seg: 0.65 to 0.90 from small to large objects, and a disc is an easy shape
    assert 0.65 < median_iou(12) < 0.85
    assert 0.75 < median_iou(30) < 0.93
    assert 0.85 < median_iou(100) < 0.97


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="same"):
        simulate_coarse(np.ones((3, 4), np.bool_), np.ones((4, 3), np.bool_), np.random.default_rng(0))


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        only(**{name: value})


def test_the_two_kinds_of_mask_head_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        SimulationSpec(box_head=0.6, prototypes=0.6)


@pytest.mark.parametrize("severity", [0.0, -1.0, float("nan"), float("inf")])
def test_severity_must_be_positive_and_finite(severity: float) -> None:
    with pytest.raises(ValueError, match="severity"):
        SimulationSpec(severity=severity)


def test_exact_masks_are_the_truth() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(simulate_coarse(disc(), nothing(disc()), rng, SimulationSpec(exact=1.0)), disc())


@pytest.mark.parametrize(("kind", "least"), [("near", 0.9), ("polygon", 0.75)])
def test_masks_that_no_segmenter_made_are_off_everywhere_a_little(kind: str, least: float) -> None:
    ious = [
        iou(disc(), simulate_coarse(disc(), nothing(disc()), np.random.default_rng(seed), only(**{kind: 1.0})))
        for seed in range(40)
    ]
    assert least < min(ious) < max(ious) <= 1
    assert np.mean(ious) < 0.995


def test_a_smooth_mask_has_lost_the_corners() -> None:
    square = np.zeros((90, 90), bool)
    square[20:70, 20:70] = True
    found = [
        iou(square, simulate_coarse(square, nothing(square), np.random.default_rng(seed), only(smooth=1.0)))
        for seed in range(20)
    ]
    assert min(found) > 0.9
    assert np.median(found) < 1


def test_parts_are_off_and_the_rest_is_exact() -> None:
    ring = disc(43) & ~disc(37)
    for seed in range(20):
        coarse = simulate_coarse(disc(), nothing(disc()), np.random.default_rng(seed), only(parts=1.0))
        assert 0.2 < iou(disc(), coarse) <= 1
        off = coarse ^ disc()
        assert (off & ring).sum() < 0.7 * ring.sum()


def test_kinds_come_as_often_as_they_are_asked_for() -> None:
    spec = SimulationSpec(exact=0.3, near=0.2)
    drawn = [simulate_coarse(disc(20), nothing(disc()), np.random.default_rng(seed), spec) for seed in range(300)]
    exact = np.mean([np.array_equal(mask, disc(20)) for mask in drawn])
    assert 0.22 < exact < 0.38  # three standard deviations


def test_a_thinned_outline_keeps_corners_and_holes() -> None:
    square = np.zeros((60, 60), bool)
    square[10:50, 10:50] = True
    square[25:35, 25:35] = False
    np.testing.assert_array_equal(polygon_mask(square, 1.0), square)
    round_one = polygon_mask(disc(), 3.0)
    assert 0.9 < iou(round_one, disc()) < 0.99
    assert (polygon_mask(disc(), 3.0, 2.0, np.random.default_rng(0)) != round_one).any()


def test_kinds_that_are_more_than_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.simulation\.exact \+ .* must be at most 1, got 1\.2"):
        SimulationSpec(exact=0.7, near=0.5)
