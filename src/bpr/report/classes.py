"""The scores of each class, before and after refinement."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpr.evaluation.instances import InstanceScores
from bpr.evaluation.scores import Evaluation, Scores
from bpr.evaluation.table import percents


class ClassRow(NamedTuple):
    """One class that has an object.

    Attributes:
        name: As the annotation file names it, else the id.
        objects: Annotated, without crowds.
        predictions: Of the class.
        matched: Of these, how many stand for an object (`match_instances`).
        cells: In percent, before, after and change of AP, Boundary AP, mask IoU and boundary F.
    """

    name: str
    objects: int
    predictions: int
    matched: int
    cells: Sequence[str]


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """The classes that have an object, the most frequent first; the evaluation must be beside coarse masks."""
    objects = Counter(t.category for record in evaluation.records for t in record.truths if not t.crowd)
    predictions = Counter(i.category for record in evaluation.records for i in record.instances)
    assert evaluation.before is not None
    assert evaluation.instances_before is not None
    rows = []
    for category, count in sorted(objects.items(), key=lambda item: (-item[1], item[0])):
        chosen = evaluation.instances.category == category
        before = _scores(evaluation.before, evaluation.instances_before, chosen, category)
        after = _scores(evaluation.scores, evaluation.instances, chosen, category)
        cells = [cell for pair in zip(before, after, strict=True) for cell in percents(*pair)]
        name = evaluation.class_names.get(category, str(category))
        rows.append(ClassRow(name, count, predictions[category], int(chosen.sum()), cells))
    return rows


def _scores(
    scores: Scores, instances: InstanceScores, chosen: NDArray[np.bool_], category: int
) -> tuple[float | None, ...]:
    means = (float(v[chosen].mean()) if chosen.any() else None for v in (instances.iou, instances.boundary_f))
    return (scores.mask.per_class.get(category), scores.boundary.per_class.get(category), *means)
