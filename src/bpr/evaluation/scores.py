"""One report on a results file: AP, Boundary AP and boundary F, beside those of the coarse masks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bpr.evaluation.annotated_predictions import PredictedImages, check_same_predictions, predicted_images, with_truths
from bpr.evaluation.average_precision import AveragePrecision, average_precision, boundary_average_precision
from bpr.evaluation.instances import InstanceScores, Shares, compare, match_all, score_matches
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.predictions import read_aligned
from bpr.matching import Match
from bpr.structures import ImageRecord


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
        images: Number of annotated images.
        predictions: Number of predictions.
        unscored: How many of them are of a class without an annotated object, and enter no figure.
        matched: Number of matched instances; those of ``against``, if given.
        scores: Of ``results``.
        before: Of ``against``.
        iou_shares: How the mask IoU of the matched instances changed.
        boundary_f_shares: How their boundary F changed.
        class_names: By category id, as far as the annotation file names them.
        records: The annotated images with the predictions of ``results``.
        instances: Scores of the matched ones of these, one by one.
        instances_before: Of the same instances in ``against``.
        unreadable: Further predictions, whose masks cannot be read or whose image is unknown; they enter no figure.
    """

    results: Path
    annotations: Path
    against: Path | None
    dilation_ratio: float
    images: int
    predictions: int
    unscored: int
    matched: int
    scores: Scores
    before: Scores | None
    iou_shares: Shares | None
    boundary_f_shares: Shares | None
    class_names: dict[int, str]
    records: Sequence[ImageRecord]
    instances: InstanceScores
    instances_before: InstanceScores | None
    unreadable: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON knows it: all scores in [0, 1], AP of the classes as a list ``classes``, no instances."""
        left_out = {"class_names", "records", "instances", "instances_before", "unreadable"}
        content = {f.name: _primitive(getattr(self, f.name)) for f in fields(self) if f.name not in left_out}
        for scores in (content["scores"], content["before"]):
            if scores is not None:
                mask, boundary = (scores[kind].pop("per_class") for kind in ("mask", "boundary"))
                scores["classes"] = [
                    {"id": c, "name": self.class_names.get(c, str(c)), "ap": ap, "boundary_ap": boundary[c]}
                    for c, ap in mask.items()
                ]
        return content


def evaluate(
    results: str | Path,
    annotations: str | Path,
    against: str | Path | None = None,
    dilation_ratio: float | None = None,
) -> Evaluation:
    """Score predictions in any format over all images of a COCO annotation file or Cityscapes ground truth.

    With ``against``, predictions are matched to objects once, by the coarse masks (`match_instances`), and the
    refined masks are scored on the same pairs: else a mask that refinement lifts above the least IoU would lower
    the mean.

    Args:
        results: The masks to judge.
        annotations: Ground truth.
        against: The coarse masks that ``results`` were made from, entry by entry.
        dilation_ratio: Of Boundary AP, in (0, 1); None: 0.005 for results in the form of Cityscapes, else 0.02.

    Raises:
        FormatError: If a file is wrong, or they do not belong together; names file, entry and remedy.
        ValueError: If the dilation ratio is out of its range.
    """
    truth = read_annotations(annotations)
    read = [read_aligned(path, truth) for path in (results, against) if path is not None]
    truth = read[0].comparable(truth)
    refined, *coarse = (predicted_images(predictions, truth) for predictions in read)
    ratio = read[0].format.dilation_ratio if dilation_ratio is None else dilation_ratio
    return evaluate_images(refined, truth, coarse[0] if coarse else None, ratio)


def evaluate_images(
    refined: PredictedImages,
    annotations: Annotations,
    coarse: PredictedImages | None = None,
    dilation_ratio: float = 0.02,
) -> Evaluation:
    """`evaluate`, of files that have been read."""
    images = with_truths(refined, annotations)
    if coarse is None:
        before, old, matches = None, None, match_all(images)
    else:
        check_same_predictions(refined, coarse)
        coarse_images = with_truths(coarse, annotations)
        matches = match_all(coarse_images)
        before, old = _score(coarse_images, matches, dilation_ratio)
    scores, instances = _score(images, matches, dilation_ratio)
    annotated = {truth.category for image in images for truth in image.truths if not truth.crowd}
    predictions = [instance for image in images for instance in image.instances]
    return Evaluation(
        results=refined.path,
        annotations=annotations.path,
        against=None if coarse is None else coarse.path,
        dilation_ratio=dilation_ratio,
        images=len(images),
        predictions=len(predictions),
        unscored=sum(instance.category not in annotated for instance in predictions),
        matched=len(instances.iou),
        scores=scores,
        before=before,
        iou_shares=None if old is None else compare(old.iou, instances.iou),
        boundary_f_shares=None if old is None else compare(old.boundary_f, instances.boundary_f),
        class_names=annotations.categories,
        records=images,
        instances=instances,
        instances_before=old,
    )


def _score(
    images: Sequence[ImageRecord], matches: Sequence[tuple[Match, ...]], dilation_ratio: float
) -> tuple[Scores, InstanceScores]:
    instances = score_matches(images, matches)
    mean_iou, mean_f = (
        float(values.mean()) if len(values) else None for values in (instances.iou, instances.boundary_f)
    )
    boundary = boundary_average_precision(images, dilation_ratio)
    return Scores(average_precision(images), boundary, mean_iou, mean_f), instances


def _primitive(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return asdict(value) if isinstance(value, Scores | Shares) else value
