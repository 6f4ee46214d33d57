"""What a refinement starts from: predictions in any format, their images, and annotations; and where it may write."""

from dataclasses import dataclass
from pathlib import Path

from bpr.data.image_files import image_names
from bpr.data.records import StoredRecords, refinement_records
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.outputs import Inputs
from bpr.formats.predictions import Predictions, read_predictions
from bpr.structures import ExifUse


@dataclass(frozen=True, slots=True)
class RefinementInput:
    """Predictions, read and joined with their images.

    Attributes:
        images: The folder of the images.
        predictions: What is refined, and written back in the same format.
        annotations: Names of images, and perhaps ground truth, where given.
        records: The images that have predictions.
    """

    images: Path
    predictions: Predictions
    annotations: Annotations | None
    records: StoredRecords

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on how masks were read and images found, a line each."""
        return (*self.predictions.notes, *self.records.notes)

    def inputs(self, *others: Path) -> Inputs:
        """All that is read, ``others`` (such as weights) included, so that nothing of it is written over."""
        parts = [self.predictions.path, *self.predictions.files(), *self.records.paths, *others]
        if self.annotations is not None:
            parts.append(self.annotations.path)
        return Inputs.of(parts, self.images)


def read_input(
    images: str | Path,
    predictions: str | Path,
    annotations: str | Path | None = None,
    form: str | None = None,
    exif: ExifUse = ExifUse.auto,
    ignore_label: int | None = None,
) -> RefinementInput:
    """Read predictions, and find their images.

    Args:
        images: Folder of images.
        predictions: File or folder.
        annotations: COCO annotation file, or a Cityscapes folder of ground truth.
        form: Name of the format of the predictions; by default their content decides.
        exif: What to do with the EXIF orientation of the images.
        ignore_label: Value of label images that is no instance.

    Raises:
        FormatError: If a file is wrong or missing; names file, entry and remedy.
    """
    images, predictions = Path(images), Path(predictions)
    found = read_predictions(predictions, form, lambda: image_names(images, predictions), ignore_label)
    annotated = None if annotations is None else read_annotations(annotations)
    if annotated is not None:
        found, annotated = found.aligned(annotated), found.comparable(annotated)
    return RefinementInput(images, found, annotated, refinement_records(images, found, annotated, exif))


def choose_output(
    output: Path | None, given: RefinementInput, folder: Path, overwrite: bool, inputs: Inputs | None = None
) -> Path:
    """Where refined predictions go, known to be free to be written.

    Args:
        output: What the user chose; by default ``refined`` in ``folder``, with the suffix of the format.
        given: What is refined.
        folder: Of the run.
        overwrite: Whether an existing output, or files in an output folder, may be replaced.
        inputs: What is read; by default what ``given`` knows.

    Raises:
        FormatError: If something would be lost, or the output is of the wrong kind or suffix.
    """
    form, inputs = given.predictions.format, given.inputs() if inputs is None else inputs
    gzipped = ".gz" if given.predictions.path.suffix == ".gz" else ""
    path = folder / f"refined{form.suffix}{gzipped}" if output is None else output
    if not form.suffix:
        inputs.check_folder(path, overwrite)
        return path
    inputs.check_file(path, overwrite)
    if output is not None and (".jsonl" in path.suffixes) != (form.suffix == ".jsonl"):
        raise FormatError(path, None, f"has another suffix than what is written; let `output` end in {form.suffix}")
    if form.png_folder is not None:
        inputs.check_folder(form.png_folder(path), overwrite)
    return path


def check_companions(
    output: Path, inputs: Inputs, overwrite: bool, report: bool = False, contact_sheet: bool = False
) -> None:
    """Refuse a page or contact sheet beside the output that would replace what this program did not make.

    Raises:
        FormatError: If there is such a file.
    """
    if report and report_path(output) == output:
        raise FormatError(output, None, "is where the report would go; give `output` another suffix, such as .json")
    if report:
        inputs.check_file(report_path(output), overwrite)
    if contact_sheet:
        inputs.check_file(contact_sheet_path(output), overwrite)


def report_path(output: Path) -> Path:
    """Where the page for a results file goes: beside it, with the same stem."""
    return output.with_suffix(".html")


def contact_sheet_path(output: Path) -> Path:
    """Where the contact sheet for a results file goes: beside it."""
    return output.with_name(f"{output.stem}_contact_sheet.png")
