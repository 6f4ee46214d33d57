"""Join predictions, annotations and images on disk into `ImageRecord`s."""

import logging
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
from bpr.formats.name_matching import strip_suffix
from bpr.formats.predictions import Predictions, read_predictions
from bpr.structures import CoarseInstance, ExifUse, ImageRecord, Size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Positions:
    """Which entries belong to which image, for n images and m entries.

    Attributes:
        entries: (m,) int64, positions in the results file, image by image, increasing within each.
        bounds: (n + 1,) int64; those of image i are ``entries[bounds[i]:bounds[i + 1]]``.
    """

    entries: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, images: NDArray[np.int64], count: int) -> Self:
        """From the image (0 to ``count`` - 1) of each entry, (m,)."""
        order = np.argsort(images, kind="stable")
        return cls(order, np.searchsorted(images[order], np.arange(count + 1)))

    def __getitem__(self, image: int) -> list[int]:
        """Positions of the entries of an image."""
        found: list[int] = self.entries[self.bounds[image] : self.bounds[image + 1]].tolist()
        return found


@dataclass(frozen=True)
class StoredRecords(LazySequence[ImageRecord]):
    """A sequence of `ImageRecord`s, made when they are asked for: their masks stay in the predictions.

    See `refinement_records`, which checks all that is in it.

    Attributes:
        predictions: What is refined.
        positions: Of the entries of each image.
        image_ids: Of each image.
        paths: Of each image.
        sizes: (h, w) of each image, px.
        exif: What to do with the EXIF orientation of the images.
        chosen: The images that are meant, in this order, by their place in the lists above.
        notes: By which rules the images were found, a line each.
    """

    predictions: Predictions
    positions: Positions
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
        size, positions = self.sizes[image], self.positions[image]
        instances = []
        for number, entry in zip(positions, self._take(positions), strict=True):
            mask = self.predictions.rle(number, entry, size)
            instances.append(CoarseInstance(mask, entry["category_id"], float(entry["score"]), number))
        return ImageRecord(self.image_ids[image], self.paths[image], size, tuple(instances), exif=self.exif)

    def without(self, image_ids: set[int | str]) -> Self:
        """The records of all other images, in the same order."""
        return replace(self, chosen=[image for image in self.chosen if self.image_ids[image] not in image_ids])

    def _take(self, positions: Sequence[int]) -> Iterator[Entry]:
        entries = self.predictions.entries
        if isinstance(entries, StoredEntries):
            return entries.take(positions)
        return (entries[position] for position in positions)


def training_records(images: Path, annotated: Annotations, predictions: Sequence[Path]) -> list[ImageRecord]:
    """Records of annotated images; the predictions of several segmenters are joined image by image.

    Remarks on what was read are logged.

    Args:
        images: Folder of images.
        annotated: Images and objects; their order is kept. Images without predictions are left out.
        predictions: Files or folders in any format of `bpr.formats.predictions`. `CoarseInstance.position` counts on
            from one to the next.

    Raises:
        FormatError: If a file is wrong, a prediction is of an unknown image, or an image is missing.
    """
    if not annotated.has_truths:
        raise FormatError(annotated.path, None, "has no annotations; training needs ground truth")
    instances: dict[int | str, list[CoarseInstance]] = defaultdict(list)
    first = 0
    names = {strip_suffix(image.file_name) for image in annotated.images.values()}
    for path in predictions:
        found = read_predictions(path, image_names=lambda: names).aligned(annotated)
        for note in found.notes:
            _log.warning("%s: %s", path, note)
        if found.comparable(annotated) is not annotated:
            problem = f"its masks have no class, but {annotated.path} has several; training matches masks by class"
            raise FormatError(path, None, f"{problem}: give results with classes, or annotations with one")
        for number, entry in enumerate(found.entries):
            if entry["image_id"] not in annotated.images:
                problem = f"image_id {entry['image_id']!r} is not in the annotation file: are they of one data set?"
                raise FormatError(*found.place(number, entry), problem)
            rle = found.rle(number, entry, annotated.images[entry["image_id"]].size)
            instance = CoarseInstance(rle, entry["category_id"], float(entry["score"]), first + number)
            instances[entry["image_id"]].append(instance)
        first += len(found.entries)
    finder, needed_by = ImageFinder(images), str(annotated.path)
    return [
        ImageRecord(i, finder.named(image.file_name, needed_by), image.size, tuple(instances[i]), image.truths)
        for i, image in annotated.images.items()
        if i in instances
    ]


def refinement_records(
    images: Path,
    predictions: Predictions,
    annotations: Annotations | None = None,
    exif: ExifUse = ExifUse.auto,
) -> StoredRecords:
    """Records of all images that have predictions, in the order in which these first name them.

    Every mask is checked here, and read again when its record is asked for.

    Without annotations an image is found by the ``file_name`` of its entries, else by its id: the file whose
    name without suffix is the id, or ends in it as a number (``000000000139.jpg`` for 139), see `ImageFinder`.

    Args:
        images: Folder of images.
        predictions: With the ids of ``annotations``, if given (`Predictions.aligned`).
        annotations: Where file names and sizes come from, if given; its objects are not looked at.
        exif: What to do with the EXIF orientation of the images.

    Raises:
        FormatError: If an image is missing or ambiguous, or a mask does not have the size of its image.
    """
    finder = ImageFinder(images, excluded=predictions.path)
    numbers: dict[int | str, int] = {}
    paths: list[Path] = []
    sizes: list[Size] = []
    image_of_entry = array("q")
    for number, entry in enumerate(predictions.entries):
        image_id = entry["image_id"]
        if image_id not in numbers:
            numbers[image_id] = len(numbers)
            path, size = _locate(finder, predictions, number, entry, annotations, exif)
            paths.append(path)
            sizes.append(size)
        predictions.rle(number, entry, sizes[numbers[image_id]])
        image_of_entry.append(numbers[image_id])
    positions = Positions.of(np.array(image_of_entry, np.int64), len(numbers))
    chosen = range(len(numbers))
    return StoredRecords(predictions, positions, [*numbers], paths, sizes, exif, chosen, finder.notes)


def _locate(
    finder: ImageFinder,
    predictions: Predictions,
    number: int,
    entry: Entry,
    annotations: Annotations | None,
    exif: ExifUse,
) -> tuple[Path, Size]:
    """The image of an entry, and the (h, w) that its masks should have."""
    image_id, needed_by = entry["image_id"], predictions.named_place(number, entry)
    if annotations is None:
        name = entry.get("file_name")
        if isinstance(name, str) and name:
            path = finder.named(name, needed_by)
        else:
            path = finder.by_id(image_id, *predictions.place(number, entry))
        return path, _size_of(path, entry, exif)
    if image_id not in annotations.images:
        problem = f"image_id {image_id!r} is not in {annotations.path}: are they of one data set?"
        raise FormatError(*predictions.place(number, entry), problem)
    annotated = annotations.images[image_id]
    return finder.named(annotated.file_name, needed_by), annotated.size


def _size_of(path: Path, entry: Entry, exif: ExifUse) -> Size:
    """(h, w) that the masks of an image should have: of the two that EXIF allows, the one its first mask has."""
    stored, oriented = image_sizes(path)
    if exif is ExifUse.ignore:
        return stored
    segmentation = entry["segmentation"]
    masks = segmentation.get("size") if isinstance(segmentation, dict) else None
    return stored if exif is ExifUse.auto and isinstance(masks, list) and tuple(masks) == stored else oriented
