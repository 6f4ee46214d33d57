"""Where a refinement may write: results, page and contact sheet."""

import re
from pathlib import Path

from bpr.data.inputs import RefinementInput
from bpr.formats.errors import FormatError
from bpr.formats.files import sweep
from bpr.formats.prediction_format import PredictionFormat
from bpr.formats.protection import Inputs
from bpr.refine.settings import RefineSettings
from bpr.refine.shards import has_begun_output, parts_folder


def choose_output(output: Path | None, given: RefinementInput, folder: Path, overwrite: bool, inputs: Inputs) -> Path:
    """Where refined predictions go, known to be free to be written.

    By default, that is ``refined`` in the ``folder`` of the run, with the suffix of the format. What exists there is
    only replaced with ``overwrite``, and none of the ``inputs`` ever. What an interrupted run was writing to is written
    to again.

    Raises:
        FormatError: If something would be lost, or the output is of the wrong kind or suffix.
    """
    form = given.predictions.format
    gzipped = ".gz" if given.predictions.path.suffix == ".gz" else ""
    path = folder / f"refined{form.suffix}{gzipped}" if output is None else output
    overwrite = has_begun_output(parts_folder(path)) or overwrite
    if not form.suffix:
        inputs.check_folder(path, overwrite)
        return path
    inputs.check_file(path, overwrite)
    if output is not None and (".jsonl" in path.suffixes) != (form.suffix == ".jsonl"):
        raise FormatError(path, None, f"has another suffix than what is written; let `output` end in {form.suffix}")
    if form.png_folder is not None and form.png_folder(path) == path:
        raise FormatError(
            path, None, f"has no suffix, but a file beside a folder of PNGs is written; end it in {form.suffix}"
        )
    if form.png_folder is not None:
        inputs.check_folder(form.png_folder(path), overwrite)
    return path


def check_outputs(settings: RefineSettings, given: RefinementInput, inputs: Inputs) -> Path:
    """`choose_output` and `check_companions` for a run."""
    output = choose_output(settings.output, given, settings.folder, settings.overwrite, inputs)
    check_companions(output, inputs, settings.overwrite, settings.report, settings.contact_sheet)
    return output


def check_companions(
    output: Path, inputs: Inputs, overwrite: bool, report: bool = False, contact_sheet: bool = False
) -> None:
    """Refuse a page or contact sheet beside the output that would replace what this program did not make."""
    if report:
        inputs.check_file(report_path(output), overwrite)
    if contact_sheet:
        inputs.check_file(contact_sheet_path(output), overwrite)


def sweep_outputs(output: Path, form: PredictionFormat) -> None:
    """Remove what runs that were killed while they wrote an output, locked by now, left of it and beside it."""
    pngs = [] if form.png_folder is None else [form.png_folder(output)]
    for path in (output, *pngs, report_path(output), contact_sheet_path(output)):
        sweep(path)


def report_path(output: Path) -> Path:
    """Where the page for results goes: beside them, with the same name but for the suffixes of JSON files."""
    return output.with_name(f"{_stem(output)}.html")


def contact_sheet_path(output: Path) -> Path:
    """Where the contact sheet for results goes: beside them."""
    return output.with_name(f"{_stem(output)}_contact_sheet.png")


def _stem(output: Path) -> str:
    return re.sub(r"(\.jsonl?)?(\.gz)?$", "", output.name, flags=re.IGNORECASE)
