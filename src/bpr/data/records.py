"""Join predictions, annotations and images on disk into `ImageRecord`s."""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bpr.data.image_finder import ImageFinder
from bpr.data.images import image_sizes
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry, LazySequence, StoredEntries
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions, read_aligned
from bpr.structures import CoarseInstance, ExifUse, ImageRecord, Size


@dataclass(frozen=True)
class StoredRecords(LazySequence[ImageRecord]):
    """A sequence of `ImageRecord`s, made when they are asked for: their masks stay in the predictions.

    See `refinement_records`, which checks all that is in it.

    Attributes:
        predictions: What is refined.
        order: (m,) int64, positions of all entries in the results file, image by image, increasing within each.
        bounds: (n + 1,) int64; the entries of image i are ``order[bounds[i]:bounds[i + 1]]``.
        image_ids: Of each image.
        paths: Of each image.
        sizes: (h, w) of each image, px.
        exif: What to do with the EXIF orientation of the images.
        chosen: The images that are meant, in this order, by their place in the lists above.
        notes: By which rules the images were found, a line each.
    """

    predictions: Predictions
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]
    image_ids: Sequence[int | str]
    paths: Sequence[Path]
    sizes: Sequence[Size]
    exif: ExifUse
    chosen: Sequence[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.chosen)

    def _make(self, position: int) -> ImageRecord:
        """Read the masks of one image."""
        image = self.chosen[position]
        size, entries = self.sizes[image], self.predictions.entries
        positions = self.order[self.bounds[image] : self.bounds[image + 1]].tolist()
        taken = entries.take(positions) if isinstance(entries, StoredEntries) else (entries[n] for n in positions)
        instances = [self.predictions.instance(n, entry, size) for n, entry in zip(positions, taken, strict=True)]
        return ImageRecord(self.image_ids[image], self.paths[image], size, tuple(instances), exif=self.exif)

    def without(self, image_ids: set[int | str]) -> Self:
        """The records of all other images, in the same order."""
        return replace(self, chosen=[image for image in self.chosen if self.image_ids[image] not in image_ids])


def training_records(images: Path, annotated: Annotations, predictions: Sequence[Path]) -> list[ImageRecord]:
    """Records of annotated images; the predictions of several segmenters are joined image by image.

    Images keep their order; those without predictions are left out. `CoarseInstance.position` counts on from one file
    of predictions, in any format, to the next. Remarks on what was read are logged.

    Raises:
        FormatError: If a file is wrong, a prediction is of an unknown image, or an image is missing.
    """
    if not annotated.has_truths:
        raise FormatError(annotated.path, None, "has no annotations; training needs ground truth")
    instances: dict[int | str, list[CoarseInstance]] = defaultdict(list)
    first = 0
    for path in predictions:
        found = read_aligned(path, annotated)
        if found.comparable(annotated) is not annotated:
            problem = f"its masks have no class, but {annotated.path} has several; training matches masks by class"
            raise FormatError(path, None, f"{problem}: give results with classes, or annotations with one")
        for image_id, of_image in found.by_image(annotated).items():
            instances[image_id] += [replace(one, position=first + one.position) for one in of_image]
        first += len(found.entries)
    finder, needed_by = ImageFinder(images), str(annotated.path)
    return [
        ImageRecord(i, finder.named(image.file_name, needed_by), image.size, tuple(instances[i]), image.truths)
        for i, image in annotated.images.items()
        if i in instances
    ]


def refinement_records(
    images: Path, predictions: Predictions, annotations: Annotations | None = None, exif: ExifUse = ExifUse.auto
) -> StoredRecords:
    """Records of all images that have predictions, in the order in which these first name them.

    Every mask is checked here, and read again when its record is asked for.

    Without annotations an image is found by the ``file_name`` of its entries, else by its id: the file whose
    name without suffix is the id, or ends in it as a number (``000000000139.jpg`` for 139), see `ImageFinder`. With
    them, file names and sizes come from there, and the predictions must have their ids (`Predictions.aligned`) or such
    as `Annotations.id_of` understands.

    Raises:
        FormatError: If an image is missing or ambiguous, or a mask does not have the size of its image.
    """
    finder = ImageFinder(images, excluded=predictions.path)
    numbers: dict[int | str, int] = {}
    paths: list[Path] = []
    sizes: list[Size] = []
    image_of_entry = array("q")
    for number, entry in enumerate(predictions.entries):
        image_id = predictions.image_id(entry, annotations)
        if image_id not in numbers:
            numbers[image_id] = len(numbers)
            path, size = _locate(finder, predictions, number, entry, annotations, exif)
            paths.append(path)
            sizes.append(size)
        predictions.rle(number, entry, sizes[numbers[image_id]])
        image_of_entry.append(numbers[image_id])
    images_of_entries, chosen = np.array(image_of_entry, np.int64), range(len(numbers))
    order = np.argsort(images_of_entries, kind="stable")
    bounds = np.searchsorted(images_of_entries[order], np.arange(len(numbers) + 1))
    return StoredRecords(predictions, order, bounds, [*numbers], paths, sizes, exif, chosen, finder.notes)


def _locate(
    finder: ImageFinder, predictions: Predictions, number: int, entry: Entry, known: Annotations | None, exif: ExifUse
) -> tuple[Path, Size]:
    """The image of an entry, and the (h, w) that its masks should have."""
    image_id, needed_by = predictions.image_id(entry, known), predictions.named_place(number, entry)
    if known is None:
        name = entry.get("file_name")
        if isinstance(name, str) and name:
            path = finder.named(name, needed_by)
        else:
            path = finder.by_id(image_id, *predictions.place(number, entry))
        return path, _size_of(path, entry, exif)
    annotated = known.image(image_id, *predictions.place(number, entry))
    return finder.named(annotated.file_name, needed_by), annotated.size


def _size_of(path: Path, entry: Entry, exif: ExifUse) -> Size:
    """(h, w) that the masks of an image should have: of the two that EXIF allows, the one its first mask has."""
    stored, oriented = image_sizes(path)
    if exif is ExifUse.ignore:
        return stored
    segmentation = entry["segmentation"]
    masks = segmentation.get("size") if isinstance(segmentation, dict) else None
    return stored if exif is ExifUse.auto and isinstance(masks, list) and tuple(masks) == stored else oriented
