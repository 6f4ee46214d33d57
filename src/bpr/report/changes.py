"""What refinement did to each instance, and which of them are worth a look."""

from collections.abc import Sequence
from dataclasses import dataclass

from bpr import rle as rle_codec
from bpr.evaluation.instances import UNCHANGED
from bpr.evaluation.scores import Evaluation
from bpr.formats.coco import result_rle
from bpr.refine.results import FinishedRun
from bpr.structures import CoarseInstance, ImageRecord, Rle


@dataclass(frozen=True, slots=True)
class Judgement:
    """A prediction beside its object: scores in [0, 1] of the coarse mask, then of the refined one."""

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
        kept: IoU of the coarse and the refined mask, in [0, 1]; 1 if nothing changed.
        judgement: Where it was matched to an object.
    """

    record: ImageRecord
    coarse: CoarseInstance
    refined: Rle
    kept: float
    judgement: Judgement | None

    @property
    def gain(self) -> float:
        """By how much the IoU with the matched object rose; 0 without one."""
        return 0.0 if self.judgement is None else self.judgement.iou[1] - self.judgement.iou[0]


def instance_changes(run: FinishedRun, evaluation: Evaluation | None) -> list[InstanceChange]:
    """All predictions before and after, in the order of the images.

    Args:
        run: The run.
        evaluation: Of its results against its annotations and with the coarse masks, if there is ground truth.
    """
    judgements = {} if evaluation is None else _judgements(run, evaluation)
    changes = []
    for record in run.records:
        for coarse in record.instances:
            refined = _refined_mask(run, record, coarse)
            kept = 1.0 if refined == coarse.rle else float(rle_codec.iou([coarse.rle], [refined])[0, 0])
            changes.append(InstanceChange(record, coarse, refined, kept, judgements.get(coarse.position)))
    return changes


def most_changed(changes: Sequence[InstanceChange], count: int) -> list[InstanceChange]:
    """Up to ``count`` instances whose mask is another one now, the least alike first."""
    return sorted((c for c in changes if c.kept < 1), key=lambda c: c.kept)[:count]


def made_better(changes: Sequence[InstanceChange], count: int) -> list[InstanceChange]:
    """Up to ``count`` instances whose IoU with their object rose by more than `UNCHANGED`, the most first."""
    return sorted((c for c in changes if c.gain > UNCHANGED), key=lambda c: -c.gain)[:count]


def made_worse(changes: Sequence[InstanceChange], count: int) -> list[InstanceChange]:
    """Up to ``count`` instances whose IoU with their object fell by more than `UNCHANGED`, the most first."""
    return sorted((c for c in changes if c.gain < -UNCHANGED), key=lambda c: c.gain)[:count]


def _refined_mask(run: FinishedRun, record: ImageRecord, coarse: CoarseInstance) -> Rle:
    before, after = (results.entries[coarse.position] for results in (run.coarse, run.refined))
    if before["segmentation"] == after["segmentation"]:
        return coarse.rle
    return result_rle(run.refined.path, coarse.position, after, record.size)


def _judgements(run: FinishedRun, evaluation: Evaluation) -> dict[int, Judgement]:
    """By position in the results files."""
    before, after = evaluation.instances_before, evaluation.instances
    assert before is not None
    assert run.annotations is not None
    images, judgements = run.annotations.images, {}
    for n, (position, true) in enumerate(zip(after.position.tolist(), after.true.tolist(), strict=True)):
        truth = images[run.coarse.entries[position]["image_id"]].truths[true]
        judgements[position] = Judgement(
            truth.rle,
            (float(before.iou[n]), float(after.iou[n])),
            (float(before.boundary_f[n]), float(after.boundary_f[n])),
        )
    return judgements
