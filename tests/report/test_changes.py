from dataclasses import replace

import numpy as np
import pytest

from bpr import rle
from bpr.report.changes import made_better, made_worse, most_changed


def positions(changes):
    return [change.coarse.position for change in changes]


def test_instances_are_chosen_by_how_much_they_changed(finish):
    changes = finish().changes
    assert positions(changes) == list(range(12))
    assert positions(most_changed(changes, 9))[0] == 2
    assert sorted(positions(most_changed(changes, 9))) == [0, 2, 4]
    assert positions(most_changed(changes, 1)) == [2]
    assert sorted(positions(made_better(changes, 9))) == [0, 4]
    assert positions(made_worse(changes, 9)) == [2]
    assert changes[0].match.iou[1] == 1
    assert changes[0].iou_with_coarse == pytest.approx(changes[0].match.iou[0])  # the refined mask is the truth


@pytest.mark.parametrize("choose", [most_changed, made_better, made_worse])
def test_a_change_counts_by_its_score(finish, choose):
    refine = {made_worse: lambda n, coarse, truth: rle.encode(np.roll(rle.decode(coarse), 3, 0))}
    changes = finish(refine=refine.get(choose, lambda n, coarse, truth: truth)).changes
    alike = [
        replace(changes[0], coarse=replace(changes[0].coarse, position=n, score=s)) for n, s in enumerate((0.2, 0.9))
    ]
    assert positions(choose(alike, 2)) == [1, 0]
    smaller = replace(alike[1], match=_halved(alike[1].match), iou_with_coarse=(1 + alike[1].iou_with_coarse) / 2)
    assert positions(choose([smaller, alike[0]], 2)) == [1, 0]  # half the change, but a score of more than twice


def _halved(match):
    before, after = match.iou
    return replace(match, iou=(before, (before + after) / 2))


def test_each_match_has_the_object_of_its_own_image(finish):
    found = finish(refine=lambda n, coarse, truth: truth)
    assert all(change.match.true == change.refined for change in found.changes)


def test_without_ground_truth_only_the_change_is_known(finish):
    changes = finish(annotated=False).changes
    assert all(change.match is None for change in changes)
    assert (made_better(changes, 9), made_worse(changes, 9)) == ([], [])
