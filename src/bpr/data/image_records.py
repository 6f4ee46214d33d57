"""Join predictions, annotations and images on disk into `ImageRecord`s."""

from array import array
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from bpr.data.image_finder import ImageFinder
from bpr.data.images import image_sizes
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry, LazySequence, StoredEntries
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Fault, Faults
from bpr.formats.predictions import Predictions, read_aligned
from bpr.structures import ExifUse, ImageRecord, Prediction, Size

_NO_IMAGE: Final = -1


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
        unusable: Ids of images that are missing, but annotated: their masks can be scored, though not refined.
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
    unusable: frozenset[int | str] = frozenset()

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

    @property
    def usable(self) -> Self:
        """The records of the images that can be refined."""
        return self.without(self.unusable)

    def without(self, image_ids: Set[int | str]) -> Self:
        """The records of all other images, in the same order."""
        return replace(self, chosen=[image for image in self.chosen if self.image_ids[image] not in image_ids])


def training_records(images: Path, annotated: Annotations, predictions: Sequence[Path]) -> list[ImageRecord]:
    """Records of annotated images; the predictions of several segmenters are joined image by image.

    Images keep their order; those without predictions are left out. `Prediction.position` counts on from one file
    of predictions, in any format, to the next. Remarks on what was read are logged.

    Raises:
        FormatError: If a file is wrong, a prediction is of an unknown image, or an image is missing.
    """
    if not annotated.has_truths:
        raise FormatError(annotated.path, None, "has no annotations; training needs ground truth")
    instances: dict[int | str, list[Prediction]] = defaultdict(list)
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
    images: Path,
    predictions: Predictions,
    annotations: Annotations | None = None,
    exif: ExifUse = ExifUse.auto,
    faults: Faults | None = None,
) -> StoredRecords:
    """Records of all images that have predictions, in the order in which these first name them.

    Every mask is checked here, in one pass over the entries, and read again when its record is asked for.

    Without annotations an image is found by the ``file_name`` of its entries, else by its id: the file whose
    name without suffix is the id, or ends in it as a number (``000000000139.jpg`` for 139), see `ImageFinder`. With
    them, file names and sizes come from there, and the predictions must have their ids (`Predictions.aligned`) or such
    as `Annotations.id_of` understands.

    Bad entries that ``faults`` has kept, or keeps now, are in no record, nor are those of images that are missing,
    unless they are annotated (`StoredRecords.unusable`).

    Raises:
        FormatError: If an image is missing or ambiguous, or a mask does not have the size of its image.
    """
    faults = faults or Faults()
    found = _FoundImages(ImageFinder(images, excluded=predictions.path), predictions, annotations, exif, faults)
    image_of_entry, bad = array("q"), faults.positions
    for number, entry in enumerate(predictions.entries):
        image_of_entry.append(_NO_IMAGE if number in bad else found.check(number, entry))
    images_of_entries, chosen = np.array(image_of_entry, np.int64), range(len(found.ids))
    order = np.argsort(images_of_entries, kind="stable")
    bounds = np.searchsorted(images_of_entries[order], np.arange(len(found.ids) + 1))
    unusable = frozenset(found.faults_of).intersection(found.ids)
    return StoredRecords(
        predictions, order, bounds, found.ids, found.paths, found.sizes, exif, chosen, found.finder.notes, unusable
    )


@dataclass(slots=True)
class _FoundImages:
    """The images that entries are of, each looked for once, in the order in which they are first named.

    Attributes:
        finder: Finds their files.
        predictions: The entries.
        annotations: They name the images, if given.
        exif: What to do with the EXIF orientation of the images.
        faults: What becomes of bad entries and images.
        ids: Of all images whose size is known.
        paths: Of each of them; where its file is missing, what it should be.
        sizes: (h, w) that the masks of each of them should have, px.
        numbers: The places of ids in these lists, `_NO_IMAGE` for images of unknown size.
        faults_of: What is wrong with an image, by its id.
    """

    finder: ImageFinder
    predictions: Predictions
    annotations: Annotations | None
    exif: ExifUse
    faults: Faults
    ids: list[int | str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    numbers: dict[int | str, int] = field(default_factory=dict)
    faults_of: dict[int | str, Fault] = field(default_factory=dict)

    def check(self, number: int, entry: Entry) -> int:
        """The place of the image of an entry, whose mask is checked; `_NO_IMAGE` if it is in no record."""
        image_id = self.predictions.image_id(entry, self.annotations)
        if self.annotations is not None and entry.get("file_name") is not None:
            checked = partial(self._check_name, number, entry, image_id, self.annotations)
            if not self.faults.attempt(checked, Reason.image_id, number):
                return _NO_IMAGE
        if image_id not in self.numbers:
            self._find(number, entry, image_id)
        image = self.numbers[image_id]
        if image != _NO_IMAGE:
            read = partial(self.predictions.rle, number, entry, self.sizes[image])
            if self.faults.attempt(read, Reason.mask, number) is None:
                return _NO_IMAGE
        if image_id in self.faults_of:
            self.faults_of[image_id].masks += 1
        return image

    def _check_name(self, number: int, entry: Entry, image_id: int | str, annotations: Annotations) -> bool:
        self.predictions.check_name(number, entry, image_id, annotations)
        return True

    def _find(self, number: int, entry: Entry, image_id: int | str) -> None:
        known, before = self.annotations, len(self.faults.found)
        path: Path | None = None
        size: Size | None = None
        if known is None:
            located = self.faults.attempt(partial(self._locate, number, entry), Reason.image, masks=0)
            path, size = located or (None, None)
        else:
            named = partial(known.image, image_id, *self.predictions.place(number, entry))
            annotated = self.faults.attempt(named, Reason.image_id, masks=0)
            if annotated is not None:
                needed_by, size = self.predictions.named_place(number, entry), annotated.size
                look = partial(self.finder.named, annotated.file_name, needed_by)
                path = (
                    self.faults.attempt(look, Reason.image_missing, masks=0) or self.finder.folder / annotated.file_name
                )
        if path is not None and size is not None:
            self.numbers[image_id] = len(self.ids)
            self.ids.append(image_id)
            self.paths.append(path)
            self.sizes.append(size)
        else:
            self.numbers[image_id] = _NO_IMAGE
        if len(self.faults.found) > before:
            self.faults_of[image_id] = self.faults.found[-1]

    def _locate(self, number: int, entry: Entry) -> tuple[Path, Size]:
        """The image of an entry by its ``file_name`` or id, and the (h, w) that its masks should have."""
        name = entry.get("file_name")
        if isinstance(name, str) and name:
            path = self.finder.named(name, self.predictions.named_place(number, entry))
        else:
            image_id, names = self.predictions.image_id(entry), self.predictions.format.names_images
            suffix = entry.get("image_suffix", "") if names else ""  # of other formats a field of the user's
            path = self.finder.by_id(image_id, *self.predictions.place(number, entry), names, suffix)
        return path, _size_of(path, entry, self.exif)


def _size_of(path: Path, entry: Entry, exif: ExifUse) -> Size:
    """(h, w) that the masks of an image should have: of the two that EXIF allows, the one its first mask has."""
    stored, oriented = image_sizes(path)
    if exif is ExifUse.ignore:
        return stored
    segmentation = entry["segmentation"]
    masks = segmentation.get("size") if isinstance(segmentation, dict) else None
    return stored if exif is ExifUse.auto and isinstance(masks, list) and tuple(masks) == stored else oriented
