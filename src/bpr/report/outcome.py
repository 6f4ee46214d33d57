"""What is shown of a finished run: scores, contact sheet and page, made of one reading of the predictions."""

from collections.abc import Iterator
from dataclasses import replace

from bpr.evaluation.annotated_predictions import PredictedImages, with_masks
from bpr.evaluation.scores import evaluate_images
from bpr.evaluation.table import format_table
from bpr.formats.files import write_text
from bpr.refine.outputs import contact_sheet_path, report_path
from bpr.refine.summary import FinishedRun
from bpr.report.changes import instance_changes
from bpr.report.contact_sheet import write_contact_sheet
from bpr.report.page import render


def show_outcome(
    run: FinishedRun, dilation_ratio: float, contact_sheet: bool, settings: str | None, min_score: float = 0.0
) -> Iterator[str]:
    """Write what is asked for of a run, and yield lines for people: where it is, and the table of scores.

    Coarse and refined masks are decoded once, and only if something needs them.

    Args:
        run: The run; its scores are told where its annotations have objects.
        dilation_ratio: Of Boundary AP.
        contact_sheet: Whether to write one.
        settings: The whole configuration as text, to be shown on the page; None: write no page.
        min_score: The page shows pictures of no prediction below it; in [0, 1].
    """
    output, annotations = run.refined.path, run.annotations
    has_truths = annotations is not None and annotations.has_truths
    if not (has_truths or contact_sheet or settings is not None):
        return
    coarse = PredictedImages(run.coarse.path, list(run.records))
    refined = with_masks(coarse, run.refined)
    evaluation = None
    if annotations is not None and has_truths:
        evaluation = evaluate_images(refined, annotations, coarse, dilation_ratio)
        evaluation = replace(evaluation, unreadable=run.summary.instances - evaluation.predictions)
    pictured = contact_sheet or settings is not None
    changes = instance_changes(coarse.records, refined.records, evaluation) if pictured else []
    if contact_sheet:
        path = contact_sheet_path(output)
        shown = write_contact_sheet(path, changes, run.class_names)
        yield f"before and after: {path}" if shown else "no mask changed: no contact sheet"
    if evaluation is not None:
        yield format_table(evaluation)
    if settings is not None:
        page = render(run, changes, evaluation, settings, min_score=min_score)
        write_text(report_path(output), page, errors="replace")  # JSON may hold half a surrogate pair
        yield f"report: {report_path(output)}"
