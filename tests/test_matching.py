"""The rules by which predictions and objects are matched."""

import numpy as np
import pytest

from bpr import rle as rle_codec
from bpr.matching import Match, best_truths, match_instances
from bpr.structures import Prediction, Rle, TrueInstance


def strip(start: int, stop: int) -> Rle:
    """Columns ``start`` to ``stop`` of an image of 1 x 100 px."""
    mask = np.zeros((1, 100), np.bool_)
    mask[:, start:stop] = True
    return rle_codec.encode(mask)


def prediction(start: int, stop: int, score: float, category: int = 1) -> Prediction:
    return Prediction(strip(start, stop), category, score, 0)


def truth(start: int, stop: int, category: int = 1, crowd: bool = False) -> TrueInstance:
    return TrueInstance(strip(start, stop), category, crowd)


def pairs(matches: tuple[Match, ...]) -> list[tuple[int, int]]:
    return [(match.predicted, match.true) for match in matches]


def test_each_prediction_takes_the_object_of_highest_iou() -> None:
    truths = [truth(0, 10), truth(20, 30)]
    predicted = [prediction(20, 29, 0.5), prediction(0, 8, 0.9)]

    matches = match_instances(predicted, truths)

    assert pairs(matches) == [(0, 1), (1, 0)]


def test_the_higher_score_chooses_first_and_the_duplicate_is_left_out() -> None:
    truths = [truth(0, 10)]
    predicted = [prediction(0, 10, 0.5), prediction(0, 6, 0.9)]

    assert pairs(match_instances(predicted, truths)) == [(1, 0)]


def test_who_comes_late_takes_the_best_object_that_is_free() -> None:
    truths = [truth(0, 10), truth(2, 14)]
    predicted = [prediction(0, 10, 0.9), prediction(0, 10, 0.8)]

    assert pairs(match_instances(predicted, truths)) == [(0, 0), (1, 1)]


def test_equal_scores_choose_in_the_order_of_the_file_and_equal_ious_by_the_first_object() -> None:
    truths = [truth(0, 10), truth(0, 10)]
    predicted = [prediction(0, 8, 0.5), prediction(0, 9, 0.5), prediction(0, 10, 0.5)]

    assert pairs(match_instances(predicted, truths)) == [(0, 0), (1, 1)]


def test_half_of_the_union_is_enough_and_less_is_not() -> None:
    assert pairs(match_instances([prediction(0, 5, 1)], [truth(0, 10)])) == [(0, 0)]
    assert match_instances([prediction(0, 4, 1)], [truth(0, 10)]) == ()
    assert pairs(match_instances([prediction(0, 4, 1)], [truth(0, 10)], min_iou=0.4)) == [(0, 0)]


def test_other_classes_and_crowds_are_never_matched() -> None:
    truths = [truth(0, 10, category=2), truth(0, 10, crowd=True)]

    assert match_instances([prediction(0, 10, 1)], truths) == ()
    assert best_truths([prediction(0, 10, 1)], truths) == ()


def test_nothing_matches_nothing() -> None:
    assert match_instances([], [truth(0, 10)]) == match_instances([prediction(0, 10, 1)], []) == ()
    assert best_truths([], [truth(0, 10)]) == best_truths([prediction(0, 10, 1)], []) == ()
    assert match_instances([prediction(0, 0, 1)], [truth(0, 0)]) == ()  # empty masks


def test_the_best_object_is_shared_by_duplicates_and_found_by_poor_masks() -> None:
    truths = [truth(0, 10), truth(50, 60)]
    predicted = [prediction(0, 10, 0.9), prediction(0, 9, 0.8), prediction(59, 99, 0.7), prediction(30, 40, 0.6)]

    assert pairs(best_truths(predicted, truths)) == [(0, 0), (1, 0), (2, 1)]
    assert pairs(best_truths(predicted, truths, min_iou=0.9)) == [(0, 0)]  # 0.9 itself is not enough


def test_of_several_objects_each_prediction_takes_the_nearest_and_of_equal_ones_the_first() -> None:
    truths = [truth(20, 30), truth(0, 10), truth(0, 10), truth(2, 12)]

    assert pairs(best_truths([prediction(1, 11, 0.5), prediction(18, 29, 0.9)], truths)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("min_iou", [0, -1, 1.1, float("nan")])
def test_a_least_iou_outside_its_range_is_refused(min_iou: float) -> None:
    with pytest.raises(ValueError, match="min_iou"):
        match_instances([], [], min_iou)
