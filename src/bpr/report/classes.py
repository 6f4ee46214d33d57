"""The scores of each class, before and after refinement."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpr.evaluation.instances import InstanceScores
from bpr.evaluation.scores import Evaluation, Scores
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry


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
        category: Id.
        name: As the annotation file names it, else the id.
        objects: Annotated, without crowds.
        predictions: Of the class.
        matched: Of these, how many stand for an object (`match_instances`).
        before: Of the coarse masks; None if there are none to compare with.
        after: Of the judged masks.
    """

    category: int
    name: str
    objects: int
    predictions: int
    matched: int
    before: ClassScores | None
    after: ClassScores


def class_rows(evaluation: Evaluation, annotations: Annotations, entries: Sequence[Entry]) -> list[ClassRow]:
    """The classes that have an object, the most frequent first.

    Args:
        evaluation: What `bpr.evaluation.scores.evaluate` found.
        annotations: What it compared with.
        entries: The predictions it judged.
    """
    objects = Counter(t.category for image in annotations.images.values() for t in image.truths if not t.crowd)
    predictions = Counter(entry["category_id"] for entry in entries)
    of_class = np.array([entries[p]["category_id"] for p in evaluation.instances.position], np.int64)
    before, instances_before = evaluation.before, evaluation.instances_before
    return [
        ClassRow(
            category,
            evaluation.class_names.get(category, str(category)),
            count,
            predictions[category],
            int((of_class == category).sum()),
            None
            if before is None or instances_before is None
            else _scores(before, instances_before, of_class == category, category),
            _scores(evaluation.scores, evaluation.instances, of_class == category, category),
        )
        for category, count in sorted(objects.items(), key=lambda item: (-item[1], item[0]))
    ]


def _scores(scores: Scores, instances: InstanceScores, chosen: NDArray[np.bool_], category: int) -> ClassScores:
    iou, f = (float(v[chosen].mean()) if chosen.any() else None for v in (instances.iou, instances.boundary_f))
    return ClassScores(scores.mask.per_class.get(category), scores.boundary.per_class.get(category), iou, f)
