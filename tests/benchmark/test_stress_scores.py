import numpy as np
import pytest

from bpr.benchmark.stress_scores import (
    INPUTS,
    Errors,
    InputScores,
    Sample,
    break_even,
    coarse_inputs,
    compare_masks,
    format_scores,
    score_inputs,
)
from bpr.structures import Mask


def square(first: int, last: int) -> Mask:
    mask = np.zeros((40, 40), np.bool_)
    mask[first:last, first:last] = True
    return mask


def scores(*points: tuple[float, float]) -> list[InputScores]:
    """Inputs of a mean IoU and a gain."""
    return [InputScores(f"input {i}", 1, 0, x, x + gain) for i, (x, gain) in enumerate(points)]


def test_every_input_is_made_and_depends_on_the_seed_alone() -> None:
    true, others = square(10, 30), square(30, 36)
    made = [coarse_inputs(true, others, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert tuple(made[0]) == INPUTS
    for name in INPUTS:
        np.testing.assert_array_equal(made[0][name], made[1][name])
        assert np.array_equal(made[0][name], made[2][name]) == (name != "simulated"), name
    np.testing.assert_array_equal(true, square(10, 30))


def test_an_input_without_a_pixel_is_left_out() -> None:
    made = coarse_inputs(square(10, 14), square(0, 0), np.random.default_rng(0))
    assert set(INPUTS) - set(made) == {"eroded 2 px"}


def test_errors_are_counted_on_both_sides() -> None:
    true, coarse, refined = square(10, 30), square(10, 32), square(11, 30)
    sample = compare_masks("truth", true, coarse, refined)
    assert sample.before == Errors(400 / 484, 84, 0)
    assert sample.after == Errors(361 / 400, 0, 39)
    assert sample.boundary == 4 * 20 - 4


def test_scores_are_means_over_objects_and_pixels_are_pooled() -> None:
    samples = [
        Sample("truth", Errors(1.0, 0, 0), Errors(0.97, 10, 2), 100),
        Sample("truth", Errors(1.0, 0, 0), Errors(0.99, 2, 0), 20),
        Sample("truth", Errors(1.0, 0, 0), Errors(0.9995, 0, 0), 80),
        Sample("polygon", Errors(0.8, 40, 60), Errors(0.9, 20, 10), 50),
    ]
    found = {row.input: row for row in score_inputs(samples, objects=3)}
    assert tuple(found) == INPUTS
    truth = found["truth"]
    assert (truth.objects, truth.left_out) == (3, 0)
    assert truth.iou_after == pytest.approx((0.97 + 0.99 + 0.9995) / 3)
    assert (truth.worse, truth.spoilt) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (truth.false_foreground_before, truth.false_background_before) == (0, 0)
    assert (truth.false_foreground, truth.false_background) == (12 / 200, 2 / 200)
    polygon = found["polygon"]
    assert (polygon.objects, polygon.left_out) == (1, 2)
    assert (polygon.false_foreground_before, polygon.false_background_before) == (0.8, 1.2)
    assert polygon.gain == pytest.approx(0.1)
    assert found["simulated"] == InputScores("simulated", 0, 3)


def test_objects_that_fill_their_image_have_no_boundary() -> None:
    true = np.ones((4, 4), np.bool_)
    row = score_inputs([compare_masks("truth", true, true, true)], 1)[0]
    assert row.iou_after == 1
    assert row.false_foreground is None


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (((1.0, -0.03), (0.9, 0.01), (0.8, 0.05)), 0.925),
        (((0.8, 0.05), (1.0, -0.03), (0.9, 0.0)), 0.9),
        (((0.7, 0.1), (0.8, -0.1), (0.9, 0.1), (1.0, -0.1)), 0.75),  # above it, not all inputs gain
        (((0.8, 0.05), (1.0, 0.001)), None),
        (((0.8, -0.05), (0.9, 0.01), (1.0, -0.01)), None),
        ((), None),
    ],
)
def test_below_the_break_even_every_input_gains(
    points: tuple[tuple[float, float], ...], expected: float | None
) -> None:
    assert break_even(scores(*points)) == (None if expected is None else pytest.approx(expected))


def test_inputs_without_objects_do_not_count_for_the_break_even() -> None:
    assert break_even([InputScores("eroded 2 px", 0, 3), *scores((0.8, 0.1), (1.0, -0.1))]) == pytest.approx(0.9)


def test_the_table_says_all_of_it() -> None:
    rows = [
        InputScores("truth", 3, 0, 1.0, 0.966, 1.0, 0.5, 0.0, 0.0, 0.305, 0.2),
        InputScores("eroded 2 px", 2, 1, 0.9, 0.934, 0.0, 0.0, 0.0, 2.0, 0.1, 1.0),
        InputScores("polygon", 0, 3),
    ]
    lines = format_scores(rows).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:5]]
    assert cells[2] == ["truth", "3", "100.0", "96.6", "100.0", "50.0", "0.30", "0.20"]
    assert cells[4] == ["polygon", "0", *["–"] * 6]
    assert lines[5:7] == [
        "eroded 2 px: 1 object left out, of which no pixel would be left",
        "polygon: 3 objects left out, of which no pixel would be left",
    ]
    assert "per boundary pixel of the truth" in lines[7]
    assert lines[8] == "break-even: refining helps masks of a mean IoU below 95.0"


@pytest.mark.parametrize(
    ("points", "verdict"),
    [(((0.8, 0.1), (1.0, 0.1)), "helps all"), (((0.8, -0.1), (1.0, -0.1)), "not even"), ((), "not even")],
)
def test_the_table_says_where_there_is_no_break_even(points: tuple[tuple[float, float], ...], verdict: str) -> None:
    assert verdict in format_scores(scores(*points)).splitlines()[-1]
