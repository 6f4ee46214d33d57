"""One report on a results file: AP, Boundary AP and boundary F, beside those of the coarse masks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bpr.evaluation.average_precision import AveragePrecision, average_precision, boundary_average_precision
from bpr.evaluation.images import (
    EvaluatedImage,
    annotated_images,
    check_images,
    check_same_predictions,
    read_predictions,
    with_predictions,
)
from bpr.evaluation.instances import (
    InstanceScores,
    Shares,
    compare,
    match_all,
    score_matches,
)
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.predictions import Predictions
from bpr.matching import Match


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one results file, in [0, 1]; None where there is nothing to score.

    Attributes:
        mask: AP by mask IoU.
        boundary: AP by boundary IoU.
        mask_iou: Mean mask IoU of the matched instances.
        boundary_f: Mean boundary F of the matched instances.
    """

    mask: AveragePrecision
    boundary: AveragePrecision
    mask_iou: float | None
    boundary_f: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` finds.

    Attributes:
        results: The results file.
        annotations: The annotation file.
        against: The results file it is compared with, if any.
        dilation_ratio: Of Boundary AP.
        min_iou: From which a prediction and an object match.
        images: Number of annotated images.
        predictions: Number of predictions.
        unscored: How many of them are of a class without an annotated object, and enter no figure.
        matched: Number of matched instances; those of ``against``, if given.
        scores: Of ``results``.
        before: Of ``against``.
        iou_shares: How the mask IoU of the matched instances changed.
        boundary_f_shares: How their boundary F changed.
        class_names: By category id, as far as the annotation file names them.
        instances: Of ``results``, one by one.
        instances_before: The same instances in ``against``.
    """

    results: Path
    annotations: Path
    against: Path | None
    dilation_ratio: float
    min_iou: float
    images: int
    predictions: int
    unscored: int
    matched: int
    scores: Scores
    before: Scores | None
    iou_shares: Shares | None
    boundary_f_shares: Shares | None
    class_names: dict[int, str]
    instances: InstanceScores
    instances_before: InstanceScores | None

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON knows it: all scores in [0, 1], AP of the classes as a list ``classes``, no instances."""
        content = asdict(self) | {name: _text(getattr(self, name)) for name in ("results", "annotations", "against")}
        names = content.pop("class_names")
        del content["instances"], content["instances_before"]
        for scores in (content["scores"], content["before"]):
            if scores is not None:
                mask, boundary = (scores[kind].pop("per_class") for kind in ("mask", "boundary"))
                scores["classes"] = [
                    {"id": c, "name": names.get(c, str(c)), "ap": ap, "boundary_ap": boundary[c]}
                    for c, ap in mask.items()
                ]
        return content


def evaluate(
    results: str | Path,
    annotations: str | Path,
    against: str | Path | None = None,
    dilation_ratio: float = 0.02,
    min_iou: float = 0.5,
) -> Evaluation:
    """Score predictions in any format over all images of a COCO annotation file or Cityscapes ground truth.

    With ``against``, predictions are matched to objects once, by the coarse masks (`match_instances`), and the
    refined masks are scored on the same pairs: else a mask that refinement lifts above ``min_iou`` would lower
    the mean.

    Args:
        results: The masks to judge.
        annotations: Ground truth.
        against: The coarse masks that ``results`` were made from, entry by entry.
        dilation_ratio: Of Boundary AP: 0.02 for COCO, 0.005 for Cityscapes; in (0, 1).
        min_iou: From which mask IoU a prediction and an object match; in (0, 1].

    Raises:
        FormatError: If a file is wrong, or they do not belong together; names file, entry and remedy.
        ValueError: If a number is out of its range.
    """
    truth = read_annotations(annotations)
    judged, *rest = (read_predictions(p, truth) for p in (results, against) if p is not None)
    truth = judged.comparable(truth)
    return evaluate_results(judged, truth, rest[0] if rest else None, dilation_ratio, min_iou)


def evaluate_results(
    results: Predictions,
    annotations: Annotations,
    against: Predictions | None = None,
    dilation_ratio: float = 0.02,
    min_iou: float = 0.5,
) -> Evaluation:
    """`evaluate`, of files that have been read."""
    images, entries = annotated_images(annotations), results.entries
    check_images(results, annotations)
    refined, coarse = with_predictions(images, results), None
    if against is not None:
        check_images(against, annotations)
        check_same_predictions(results.path, entries, against.path, against.entries)
        coarse = with_predictions(images, against)
    matches = match_all(refined if coarse is None else coarse, min_iou)
    scores, instances = _score(refined, matches, dilation_ratio)
    before, instances_before = (None, None) if coarse is None else _score(coarse, matches, dilation_ratio)
    scored = {t.category for image in images for t in image.truths if not t.crowd}
    return Evaluation(
        results=results.path,
        annotations=annotations.path,
        against=None if against is None else against.path,
        dilation_ratio=dilation_ratio,
        min_iou=min_iou,
        images=len(images),
        predictions=len(entries),
        unscored=sum(entry["category_id"] not in scored for entry in entries),
        matched=len(instances.iou),
        scores=scores,
        before=before,
        iou_shares=None if instances_before is None else compare(instances_before.iou, instances.iou),
        boundary_f_shares=(
            None if instances_before is None else compare(instances_before.boundary_f, instances.boundary_f)
        ),
        class_names=annotations.categories,
        instances=instances,
        instances_before=instances_before,
    )


def _score(
    images: Sequence[EvaluatedImage], matches: Sequence[tuple[Match, ...]], dilation_ratio: float
) -> tuple[Scores, InstanceScores]:
    instances = score_matches(images, matches)
    mean_iou, mean_f = (
        float(values.mean()) if len(values) else None for values in (instances.iou, instances.boundary_f)
    )
    boundary = boundary_average_precision(images, dilation_ratio)
    return Scores(average_precision(images), boundary, mean_iou, mean_f), instances


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
