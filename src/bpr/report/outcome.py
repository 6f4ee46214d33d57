"""What is shown of a finished run: scores, contact sheet and page, made of one reading of both results files."""

from collections.abc import Iterator
from pathlib import Path

from bpr.evaluation.images import PredictedImages, with_masks
from bpr.evaluation.scores import evaluate_images
from bpr.evaluation.table import format_table
from bpr.formats.errors import FormatError
from bpr.refine.run import FinishedRun
from bpr.report.changes import instance_changes
from bpr.report.contact_sheet import write_contact_sheet
from bpr.report.page import write_report


def report_path(output: Path) -> Path:
    """Where the page for a results file goes: beside it, with the same stem.

    Raises:
        FormatError: If that is the results file itself.
    """
    path = output.with_suffix(".html")
    if path == output:
        raise FormatError(output, None, "is where the report would go; give `output` another suffix, such as .json")
    return path


def contact_sheet_path(output: Path) -> Path:
    """Where the contact sheet for a results file goes: beside it."""
    return output.with_name(f"{output.stem}_contact_sheet.png")


def show_outcome(run: FinishedRun, dilation_ratio: float, contact_sheet: bool, settings: str | None) -> Iterator[str]:
    """Write what is asked for of a run, and yield lines for people: where it is, and the table of scores.

    Both results files are read once, and only if something needs them.

    Args:
        run: The run; its scores are told where its annotations have objects.
        dilation_ratio: Of Boundary AP.
        contact_sheet: Whether to write one.
        settings: The whole configuration as text, to be shown on the page; None: write no page.

    Raises:
        FormatError: If an image that is shown cannot be decoded.
        OSError: If a file cannot be written.
    """
    output, annotations, evaluation = run.refined.path, run.annotations, None
    truths = annotations if annotations is not None and annotations.has_truths else None
    pictures = contact_sheet or settings is not None
    if truths is None and not pictures:
        return
    coarse = PredictedImages(run.coarse.path, list(run.records))
    refined = with_masks(coarse, run.refined)
    if truths is not None:
        evaluation = evaluate_images(refined, truths, coarse, dilation_ratio)
    changes = instance_changes(coarse.records, refined.records, evaluation) if pictures else []
    if contact_sheet:
        path = contact_sheet_path(output)
        shown = write_contact_sheet(path, changes, {} if annotations is None else annotations.categories)
        yield f"before and after: {path}" if shown else "no mask changed: no contact sheet"
    if evaluation is not None:
        yield format_table(evaluation)
    if settings is not None:
        write_report(report_path(output), run, changes, evaluation, settings)
        yield f"report: {report_path(output)}"
