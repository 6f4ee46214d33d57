"""What a refinement starts from: predictions in any format, their images, and annotations."""

from dataclasses import dataclass
from pathlib import Path

from bpr.data.image_files import image_names
from bpr.data.records import StoredRecords, refinement_records
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions, read_predictions
from bpr.structures import ExifUse


@dataclass(frozen=True, slots=True)
class RefinementInput:
    """Predictions, read and joined with their images.

    Attributes:
        predictions: With the ids of the annotations, where given.
        annotations: Names of images, and perhaps ground truth, where given.
        records: The images that have predictions.
    """

    predictions: Predictions
    annotations: Annotations | None
    records: StoredRecords


def read_input(
    images: str | Path,
    predictions: str | Path,
    annotations: str | Path | None = None,
    form: str | None = None,
    exif: ExifUse = ExifUse.auto,
) -> RefinementInput:
    """Read predictions, and find their images.

    Args:
        images: Folder of images.
        predictions: File or folder.
        annotations: COCO annotation file, or a Cityscapes folder of ground truth.
        form: Name of the format of the predictions; by default their content decides.
        exif: What to do with the EXIF orientation of the images.

    Raises:
        FormatError: If a file is wrong or missing; names file, entry and remedy.
    """
    images, predictions = Path(images), Path(predictions)
    annotated = None if annotations is None else read_annotations(annotations)
    found = read_predictions(predictions, form, lambda: image_names(images, predictions))
    if annotated is not None:
        found, annotated = found.aligned(annotated), found.comparable(annotated)
    return RefinementInput(found, annotated, refinement_records(images, found, annotated, exif))


def choose_output(output: str | Path | None, given: RefinementInput, folder: str | Path, overwrite: bool) -> Path:
    """Where refined predictions go, known to be free to be written.

    Args:
        output: What the user chose; by default ``refined`` in ``folder``, with the suffix of the format.
        given: What is refined.
        folder: Of the run.
        overwrite: Whether files of an earlier run in an output folder may be replaced.

    Raises:
        FormatError: If the output is the input or in it, of the wrong kind or suffix, or a folder with other files.
    """
    form, predictions = given.predictions.format, given.predictions.path
    gzipped = ".gz" if predictions.suffix == ".gz" else ""
    path = Path(folder) / f"refined{form.suffix}{gzipped}" if output is None else Path(output)
    if path.resolve() == predictions.resolve():
        raise FormatError(path, None, "is the input; give another `output`, so that the coarse masks are kept")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FormatError(path, None, "is neither a file nor a folder, and is not written over; give another `output`")
    if predictions.is_dir() and predictions.resolve() in path.resolve().parents:
        raise FormatError(path, None, "lies in the folder of the predictions and would be read as some; move `output`")
    if form.suffix and output is not None and (".jsonl" in path.suffixes) != (form.suffix == ".jsonl"):
        raise FormatError(path, None, f"has another suffix than what is written; let `output` end in {form.suffix}")
    if path.is_dir() and form.suffix:
        raise FormatError(path, None, f"is a folder, but format {form.name} writes a file; give `output` a file name")
    if path.is_file() and not form.suffix:
        raise FormatError(path, None, f"is a file, but format {form.name} writes a folder; give `output` another name")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise FormatError(path, None, "is not empty; give another `output`, or overwrite=true to replace files in it")
    return path
