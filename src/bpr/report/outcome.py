"""What is shown of a finished run: scores, contact sheet and page, made of one reading of both results files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from bpr.evaluation.images import PredictedImages, with_masks
from bpr.evaluation.scores import evaluate_images
from bpr.evaluation.table import format_table
from bpr.formats.errors import FormatError
from bpr.refine.run import FinishedRun
from bpr.report.changes import instance_changes
from bpr.report.contact_sheet import SOFTWARE, write_contact_sheet
from bpr.report.page import GENERATOR, write_report

_HEAD_BYTES: Final = 1000


def report_path(output: Path) -> Path:
    """Where the page for a results file goes: beside it, with the same stem."""
    return output.with_suffix(".html")


def contact_sheet_path(output: Path) -> Path:
    """Where the contact sheet for a results file goes: beside it."""
    return output.with_name(f"{output.stem}_contact_sheet.png")


def check_report_path(output: Path, overwrite: bool) -> None:
    """Check, before the work begins, that the page can be written.

    Raises:
        FormatError: If its path is that of the results file, or of a file that this package did not write and that
            may not be overwritten.
    """
    path = report_path(output)
    if path == output:
        raise FormatError(output, None, "is where the report would go; give `output` another suffix, such as .json")
    if path.exists() and not overwrite and not _is_own_page(path):
        raise FormatError(path, None, _FOREIGN.format("report"))


def check_contact_sheet_path(output: Path, overwrite: bool) -> None:
    """As `check_report_path`, for the contact sheet."""
    path = contact_sheet_path(output)
    if path == output:
        raise FormatError(output, None, "is where the contact sheet would go; give `output` another name")
    if path.exists() and not overwrite and not _is_own_sheet(path):
        raise FormatError(path, None, _FOREIGN.format("contact sheet"))


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
    output, annotations = run.refined.path, run.annotations
    has_truths = annotations is not None and annotations.has_truths
    if not (has_truths or contact_sheet or settings is not None):
        return
    coarse = PredictedImages(run.coarse.path, list(run.records))
    refined = with_masks(coarse, run.refined)
    evaluation = None
    if annotations is not None and has_truths:
        evaluation = evaluate_images(refined, annotations, coarse, dilation_ratio)
    changes = (
        [] if not contact_sheet and settings is None else instance_changes(coarse.records, refined.records, evaluation)
    )
    if contact_sheet:
        path = contact_sheet_path(output)
        shown = write_contact_sheet(path, changes, {} if annotations is None else annotations.categories)
        yield f"before and after: {path}" if shown else "no mask changed: no contact sheet"
    if evaluation is not None:
        yield format_table(evaluation)
    if settings is not None:
        write_report(report_path(output), run, changes, evaluation, settings)
        yield f"report: {report_path(output)}"


_FOREIGN: Final = "exists and was not written by bpr; the {} would replace it: give another `output`, or overwrite=true"


def _is_own_page(path: Path) -> bool:
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(_HEAD_BYTES)


def _is_own_sheet(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == SOFTWARE
    except OSError:  # no picture
        return False
