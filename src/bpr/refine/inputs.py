"""What a refinement starts from: predictions in any format, their images, and annotations; and where it may write."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpr.data.image_files import image_names
from bpr.data.records import refinement_records
from bpr.data.stored_records import StoredRecords
from bpr.formats.alignment import aligned, comparable
from bpr.formats.coco import Annotations
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.outputs import Inputs
from bpr.formats.predictions import PredictionFormat, prediction_format, read_annotations
from bpr.structures import ExifUse


@dataclass(frozen=True, slots=True)
class RefinementInput:
    """Predictions, read and joined with their images.

    Attributes:
        images: The folder of the images.
        predictions: The file or folder they were read from.
        form: Its format, in which they are written back.
        entries: One for each prediction.
        annotations: Names of images, and perhaps ground truth, where given.
        records: The images that have predictions.
    """

    images: Path
    predictions: Path
    form: PredictionFormat
    entries: Sequence[Entry]
    annotations: Annotations | None
    records: StoredRecords

    def files(self) -> list[Path]:
        """All files that the predictions are read from."""
        parts = [self.predictions]
        if self.form.name == "panoptic":
            parts.append(self.predictions.with_suffix(""))
        below = [path for part in parts for path in (sorted(part.rglob("*")) if part.is_dir() else [part])]
        return [path for path in below if path.is_file()]

    def inputs(self, *others: Path) -> Inputs:
        """All that is read, ``others`` (such as weights) included, so that nothing of it is written over."""
        parts = [self.predictions, *self.files(), *self.records.paths, *others]
        if self.annotations is not None:
            parts.append(self.annotations.path)
        return Inputs.of(parts, self.images)

    def write(self, output: Path, entries: Iterable[Entry]) -> None:
        """Write the entries, perhaps with other masks, in the format of the input."""
        self.form.write(output, entries, self.predictions)


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
    found = prediction_format(predictions, form)
    if ignore_label is not None:
        raise FormatError(predictions, None, f"format {found.name} is read without ignore_label; leave it out")
    annotated = None if annotations is None else read_annotations(annotations)
    entries = found.read(predictions, lambda: image_names(images, predictions))
    if annotated is not None:
        entries, annotated = aligned(entries, annotated), comparable(annotated, entries)
    records = refinement_records(images, predictions, entries, annotated, exif)
    return RefinementInput(images, predictions, found, entries, annotated, records)


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
    form, inputs = given.form, given.inputs() if inputs is None else inputs
    gzipped = ".gz" if given.predictions.suffix == ".gz" else ""
    path = folder / f"refined{form.suffix}{gzipped}" if output is None else output
    if not form.suffix:
        inputs.check_folder(path, overwrite)
        return path
    inputs.check_file(path, overwrite)
    if output is not None and (".jsonl" in path.suffixes) != (form.suffix == ".jsonl"):
        raise FormatError(path, None, f"has another suffix than what is written; let `output` end in {form.suffix}")
    if form.name == "panoptic":
        inputs.check_folder(path.with_suffix(""), overwrite)  # of its PNGs
    return path


def check_companions(
    output: Path, inputs: Inputs, overwrite: bool, report: bool = False, contact_sheet: bool = False
) -> None:
    """Refuse a page or contact sheet beside the output that would replace what this program did not make.

    Raises:
        FormatError: If there is such a file.
    """
    if report and output.suffix == ".html":
        raise FormatError(output, None, "is where the report would go; give `output` another suffix, such as .json")
    if report:
        inputs.check_file(output.with_suffix(".html"), overwrite)
    if contact_sheet:
        inputs.check_file(output.with_name(f"{output.stem}_contact_sheet.png"), overwrite)
