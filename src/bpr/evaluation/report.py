"""One report on a results file: AP, Boundary AP and boundary F, beside those of the coarse masks."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bpr.evaluation.average_precision import AveragePrecision, average_precision, boundary_average_precision
from bpr.evaluation.inputs import (
    EvaluatedImage,
    check_same_predictions,
    read_ground_truth,
    read_predictions,
    with_predictions,
)
from bpr.evaluation.instance_matching import Match
from bpr.evaluation.instance_scores import (
    UNCHANGED,
    InstanceScores,
    Shares,
    compare,
    match_all,
    score_matches,
)

ABSENT = "\N{EN DASH}"
"""Printed where there is nothing to score."""


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

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON knows it: all scores in [0, 1], AP of the classes as a list ``classes``."""
        content = asdict(self) | {name: _text(getattr(self, name)) for name in ("results", "annotations", "against")}
        names = content.pop("class_names")
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
    """Score a COCO results file over all images of a COCO annotation file.

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
    truth, images = read_ground_truth(annotations)
    entries = read_predictions(results, truth)
    refined, coarse = with_predictions(images, results, entries), None
    if against is not None:
        coarse_entries = read_predictions(against, truth)
        check_same_predictions(results, entries, against, coarse_entries)
        coarse = with_predictions(images, against, coarse_entries)
    matches = match_all(refined if coarse is None else coarse, min_iou)
    scores, instances = _score(refined, matches, dilation_ratio)
    before, instances_before = (None, None) if coarse is None else _score(coarse, matches, dilation_ratio)
    scored = {t.category for image in images for t in image.truths if not t.crowd}
    return Evaluation(
        results=Path(results),
        annotations=Path(annotations),
        against=None if against is None else Path(against),
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
        class_names=truth.categories,
    )


def format_table(evaluation: Evaluation) -> str:
    """The report as text: a Markdown table in percent (`ABSENT` where there is no object), and counts below it."""
    before, after = evaluation.before, evaluation.scores
    head = ["", "value"] if before is None else ["", "coarse", "refined", "change"]
    rows = [head, *([name, *_cells(before, after, read)] for name, read in _ROWS)]
    name_width = max(len(row[0]) for row in rows)
    lines = [f"| {row[0]:<{name_width}} | " + " | ".join(f"{cell:>7}" for cell in row[1:]) + " |" for row in rows]
    lines.insert(1, f"| {'-' * name_width} | " + " | ".join(["------:"] * (len(head) - 1)) + " |")
    return "\n".join([*lines, "", *_remarks(evaluation)])


def percent(score: float | None) -> str:
    """A score in [0, 1] as percent with one decimal, or `ABSENT`."""
    return ABSENT if score is None else f"{100 * score:.1f}"


_ROWS: tuple[tuple[str, Callable[[Scores], float | None]], ...] = (
    ("AP", lambda scores: scores.mask.ap),
    ("AP50", lambda scores: scores.mask.ap50),
    ("AP75", lambda scores: scores.mask.ap75),
    ("AP small", lambda scores: scores.mask.small),
    ("AP medium", lambda scores: scores.mask.medium),
    ("AP large", lambda scores: scores.mask.large),
    ("Boundary AP", lambda scores: scores.boundary.ap),
    ("Boundary AP50", lambda scores: scores.boundary.ap50),
    ("Boundary AP75", lambda scores: scores.boundary.ap75),
    ("Boundary AP small", lambda scores: scores.boundary.small),
    ("Boundary AP medium", lambda scores: scores.boundary.medium),
    ("Boundary AP large", lambda scores: scores.boundary.large),
    ("Boundary F (matched)", lambda scores: scores.boundary_f),
    ("Mask IoU (matched)", lambda scores: scores.mask_iou),
)


def _cells(before: Scores | None, after: Scores, read: Callable[[Scores], float | None]) -> list[str]:
    if before is None:
        return [percent(read(after))]
    old, new = read(before), read(after)
    change = ABSENT if old is None or new is None else f"{100 * (new - old):+.1f}"
    return [percent(old), percent(new), change]


def _remarks(evaluation: Evaluation) -> list[str]:
    masks = "" if evaluation.before is None else " of the coarse masks"
    predictions = f"{evaluation.images} images, {evaluation.predictions} predictions"
    if evaluation.unscored:
        predictions += f" ({evaluation.unscored} of classes without an annotated object: not scored)"
    lines = [
        predictions,
        f"Boundary AP with dilation ratio {evaluation.dilation_ratio:g}",
        f"{evaluation.matched} matched instances (IoU{masks} >= {evaluation.min_iou:g})",
    ]
    for name, shares in (("mask IoU", evaluation.iou_shares), ("boundary F", evaluation.boundary_f_shares)):
        if shares is not None:
            parts = f"{shares.better:.1%} better, {shares.worse:.1%} worse, {shares.unchanged:.1%} unchanged"
            lines.append(f"  by {name}: {parts} (by at most {UNCHANGED})")
    return lines


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
