"""The scores of each class, before and after refinement."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpr.evaluation.instances import InstanceScores
from bpr.evaluation.scores import Evaluation, Scores


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class in one results file, in [0, 1]; None where there is nothing to score."""

    ap: float | None
    boundary_ap: float | None
    mask_iou: float | None
    boundary_f: float | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class that has an object.

    Attributes:
        name: As the annotation file names it, else the id.
        objects: Annotated, without crowds.
        predictions: Of the class.
        matched: Of these, how many stand for an object (`match_instances`).
        before: Of the coarse masks.
        after: Of the refined masks.
    """

    name: str
    objects: int
    predictions: int
    matched: int
    before: ClassScores
    after: ClassScores


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """The classes that have an object, the most frequent first; the evaluation must be beside coarse masks."""
    objects = Counter(t.category for record in evaluation.records for t in record.truths if not t.crowd)
    predictions = Counter(i.category for record in evaluation.records for i in record.instances)
    assert evaluation.before is not None
    assert evaluation.instances_before is not None
    rows = []
    for category, count in sorted(objects.items(), key=lambda item: (-item[1], item[0])):
        chosen = evaluation.instances.category == category
        rows.append(
            ClassRow(
                name=evaluation.class_names.get(category, str(category)),
                objects=count,
                predictions=predictions[category],
                matched=int(chosen.sum()),
                before=_scores(evaluation.before, evaluation.instances_before, chosen, category),
                after=_scores(evaluation.scores, evaluation.instances, chosen, category),
            )
        )
    return rows


def _scores(scores: Scores, instances: InstanceScores, chosen: NDArray[np.bool_], category: int) -> ClassScores:
    iou, f = (float(v[chosen].mean()) if chosen.any() else None for v in (instances.iou, instances.boundary_f))
    return ClassScores(scores.mask.per_class.get(category), scores.boundary.per_class.get(category), iou, f)
