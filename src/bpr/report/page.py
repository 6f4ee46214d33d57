"""The page itself: what stands in it."""

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from PIL.Image import Image

from bpr.drawing import COLOURS
from bpr.evaluation.scores import Evaluation
from bpr.evaluation.table import percent, remarks, table_rows
from bpr.refine.summary import FinishedRun
from bpr.report.changes import InstanceChange, made_better, made_worse, most_changed
from bpr.report.classes import class_rows
from bpr.report.histogram import gain_histogram, similarity_histogram
from bpr.report.pictures import Panel, panels_of

SHOWN: Final = 12
"""Instances in each gallery; bounds the size of the page and the number of images that are decoded again."""
_BAR_HEIGHT: Final = 160  # px
_JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class Gallery:
    """Instances that are shown for one reason."""

    anchor: str
    title: str
    remark: str
    shown: Sequence[tuple[InstanceChange, Sequence[Panel]]]


def render(
    run: FinishedRun,
    changes: Sequence[InstanceChange],
    evaluation: Evaluation | None,
    settings: str,
    shown: int = SHOWN,
    min_score: float = 0.0,
) -> str:
    """The page as text.

    Args:
        run: What was refined.
        changes: All its predictions before and after.
        evaluation: Of its results beside the coarse masks, where there is ground truth.
        settings: The whole configuration as text.
        shown: Instances in each gallery, at most.
        min_score: Instances below it are in no gallery, and counted; in [0, 1].
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "data_uri": _data_uri, "csp_hash": _csp_hash}
    ranked = [change for change in changes if change.coarse.score >= min_score]
    source = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=run.refined.path.name,
        version=version("bpr"),
        summary=_summary(run),
        left=run.summary.left.items(),
        kept=run.summary.kept,
        bad_masks=run.summary.bad_masks,
        scores=None if evaluation is None else table_rows(evaluation),
        remarks=[] if evaluation is None else remarks(evaluation),
        classes=[] if evaluation is None else class_rows(evaluation),
        galleries=_galleries(ranked, evaluation is not None, shown),
        hidden=len(changes) - len(ranked),
        min_score=min_score,
        histogram=_histogram(changes, evaluation is not None),
        settings=settings,
        place_of=run.coarse.place_within,
        names=run.class_names,
        colours={title: "#{:02x}{:02x}{:02x}".format(*colour) for title, colour in COLOURS.items()},
    )


def _summary(run: FinishedRun) -> list[tuple[str, str]]:
    summary = run.summary
    rows: list[tuple[str, object]] = [
        ("Coarse masks", run.coarse.path),
        ("Refined masks", run.refined.path),
        ("Annotations", "none" if run.annotations is None else run.annotations.path),
        ("Images", f"{summary.images:,}"),
        ("Instances", f"{summary.instances:,}"),
        ("Refined", f"{summary.refined:,}"),
        ("Masks changed", f"{summary.changed:,}"),
        ("Patches", f"{summary.patches:,}"),
        ("Time", f"{run.elapsed:.1f} s"),
        ("Left as they are", f"{sum(summary.left.values()):,}"),
    ]
    return [(name, str(value)) for name, value in rows]


def _data_uri(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _csp_hash(script: str) -> str:
    """How a content security policy names a script that may run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _galleries(changes: Sequence[InstanceChange], judged: bool, shown: int) -> list[Gallery]:
    better = "Matched instances whose IoU with their object rose, by gain times score."
    worse = "Matched instances whose IoU with their object fell, by loss times score."
    changed = "By 1 minus the IoU of the coarse and the refined mask, times score."
    chosen = (
        [("better", "Made better", better, made_better), ("worse", "Made worse", worse, made_worse)] if judged else []
    )
    chosen.append(("changed", "Changed most", changed, most_changed))
    selected = [choose(changes, shown) for *_, choose in chosen]
    panels = iter(panels_of([change for part in selected for change in part]))
    return [
        Gallery(anchor, title, remark, [(change, next(panels)) for change in part])
        for (anchor, title, remark, _), part in zip(chosen, selected, strict=True)
    ]


def _histogram(changes: Sequence[InstanceChange], judged: bool) -> dict[str, Any]:
    if judged:
        gains = [change.gain for change in changes if change.match is not None]
        title, histogram, axis = "Change of IoU", gain_histogram(gains), "change of the IoU with the object, in points"
        remark = f"{len(gains):,} matched instances; left of the middle: worse, right: better."
    else:
        title, histogram = "IoU of coarse and refined masks", similarity_histogram([c.iou_with_coarse for c in changes])
        remark, axis = f"{len(changes):,} instances.", "IoU of the coarse and the refined mask, in percent"
    highest = max([bar.count for bar in histogram.bars] + [1])
    bars = [(bar, round(_BAR_HEIGHT * bar.count / highest, 1)) for bar in histogram.bars]
    return {"title": title, "axis": axis, "remark": remark, "bars": bars, "ticks": histogram.ticks}
