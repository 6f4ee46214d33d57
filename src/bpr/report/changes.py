"""What refinement did to each instance, and which of them are worth a look."""

from collections.abc import Sequence
from dataclasses import dataclass

from bpr import rle as rle_codec
from bpr.evaluation.instances import UNCHANGED
from bpr.evaluation.scores import Evaluation
from bpr.structures import ImageRecord, Prediction, Rle


@dataclass(frozen=True, slots=True)
class MatchScores:
    """The object that a prediction stands for: scores in [0, 1] of the coarse mask, then of the refined one."""

    true: Rle
    iou: tuple[float, float]
    boundary_f: tuple[float, float]


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """One prediction before and after.

    Attributes:
        record: Its image.
        coarse: As predicted.
        refined: Its mask now.
        iou_with_coarse: IoU of the coarse and the refined mask, in [0, 1]; 1 if nothing changed.
        match: Where it was matched to an object.
    """

    record: ImageRecord
    coarse: Prediction
    refined: Rle
    iou_with_coarse: float
    match: MatchScores | None

    @property
    def gain(self) -> float:
        """By how much the IoU with the matched object rose; 0 without one."""
        return 0.0 if self.match is None else self.match.iou[1] - self.match.iou[0]


def instance_changes(
    coarse: Sequence[ImageRecord], refined: Sequence[ImageRecord], evaluation: Evaluation | None = None
) -> list[InstanceChange]:
    """All predictions, in the order of the images; with ``evaluation``, matched objects too."""
    matches = {} if evaluation is None else _scores_by_position(evaluation)
    changes = []
    for record, after in zip(coarse, refined, strict=True):
        for instance, new in zip(record.instances, after.instances, strict=True):
            same = new.rle["counts"] == instance.rle["counts"]
            iou = 1.0 if same else float(rle_codec.iou([instance.rle], [new.rle])[0, 0])
            changes.append(InstanceChange(record, instance, new.rle, iou, matches.get(instance.position)))
    return changes


def most_changed(changes: Sequence[InstanceChange], count: int) -> list[InstanceChange]:
    """Up to ``count`` instances whose mask is another one now, by how unlike the coarse one it is, times score."""
    changed = (c for c in changes if c.iou_with_coarse < 1)
    return sorted(changed, key=lambda c: c.coarse.score * (c.iou_with_coarse - 1))[:count]


def made_better(changes: Sequence[InstanceChange], count: int) -> list[InstanceChange]:
    """Up to ``count`` instances whose IoU with their object rose by more than `UNCHANGED`, by this times score."""
    return sorted((c for c in changes if c.gain > UNCHANGED), key=lambda c: -c.coarse.score * c.gain)[:count]


def made_worse(changes: Sequence[InstanceChange], count: int) -> list[InstanceChange]:
    """Up to ``count`` instances whose IoU with their object fell by more than `UNCHANGED`, by this times score."""
    return sorted((c for c in changes if c.gain < -UNCHANGED), key=lambda c: c.coarse.score * c.gain)[:count]


def _scores_by_position(evaluation: Evaluation) -> dict[int, MatchScores]:
    """Of each matched prediction, by its position in the results files."""
    before, after = evaluation.instances_before, evaluation.instances
    assert before is not None
    truths = {i.position: record.truths for record in evaluation.records for i in record.instances}
    columns = (after.position, after.true, before.iou, after.iou, before.boundary_f, after.boundary_f)
    return {
        position: MatchScores(truths[position][true].rle, (iou, new_iou), (f, new_f))
        for position, true, iou, new_iou, f, new_f in zip(*(column.tolist() for column in columns), strict=True)
    }
