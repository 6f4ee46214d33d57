"""What a refinement starts from: predictions in any format, their images, and annotations; and where it may write."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bpr.data.image_finder import SizesInFolder
from bpr.data.image_records import StoredRecords, refinement_records
from bpr.data.layouts import find_layout
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.faults import Fault, Faults
from bpr.formats.predictions import Predictions, read_predictions
from bpr.formats.protection import Inputs
from bpr.structures import ExifUse, OnError


@dataclass(frozen=True, slots=True)
class RefinementInput:
    """Predictions, and the ``records`` of the images that have some; ``annotations`` name images, perhaps no more.

    ``faults`` are the bad entries and missing images that were found, and are left as they came; ``chosen`` are remarks
    on what was not given and taken from the layout of the folders.
    """

    images: Path
    predictions: Predictions
    annotations: Annotations | None
    records: StoredRecords
    faults: tuple[Fault, ...] = ()
    chosen: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on how masks were read and images found, a line each."""
        return (*self.chosen, *self.predictions.notes, *self.records.notes)

    def inputs(self, *others: Path) -> Inputs:
        """All that is read, ``others`` (such as weights) included, so that nothing of it is written over."""
        parts = [self.predictions.path, *self.predictions.files(), *self.records.paths, *others]
        if self.annotations is not None:
            parts.append(self.annotations.path)
        return Inputs.of(parts, self.images)


def read_input(
    images: str | Path | None,
    predictions: str | Path,
    annotations: str | Path | None = None,
    form: str | None = None,
    exif: ExifUse = ExifUse.auto,
    ignore_label: int | None = None,
    polygon_tolerance: float = 0.0,
    on_error: OnError | None = None,
    crowds: bool = False,
) -> RefinementInput:
    """Read predictions of the format ``form``, by default told by their content, and find their images.

    The arguments are the settings of those names in ``conf/refine.yaml``, see also `bpr.data.layouts.find_layout`.
    `FormatError` if a file is wrong or missing.
    """
    given, faults = None if images is None else Path(images), Faults(on_error)
    images, predictions, ignore_label, chosen = find_layout(given, Path(predictions), form, ignore_label)
    sizes = partial(SizesInFolder, images, predictions, exif)
    found = read_predictions(predictions, form, sizes, ignore_label, polygon_tolerance, faults, crowds, check=False)
    annotated = None if annotations is None else read_annotations(annotations)
    if annotated is not None:
        found, annotated = found.aligned(annotated), found.comparable(annotated)
    records = refinement_records(images, found, annotated, exif, faults)
    return RefinementInput(images, found, annotated, records, tuple(faults.found), chosen)
