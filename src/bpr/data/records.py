"""Join predictions, annotations and images on disk into `ImageRecord`s."""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from bpr.data.image_files import ImageFinder
from bpr.data.images import image_sizes
from bpr.data.stored_records import Positions, StoredRecords
from bpr.formats import coco
from bpr.formats.alignment import aligned, comparable
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.places import entry_rle, named_place, place
from bpr.formats.predictions import prediction_format
from bpr.structures import CoarseInstance, ExifUse, ImageRecord, Size


def training_records(images: Path, annotated: coco.Annotations, predictions: Sequence[Path]) -> list[ImageRecord]:
    """Records of annotated images; the predictions of several segmenters are joined image by image.

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
    names = {PurePosixPath(image.file_name).stem for image in annotated.images.values()}
    sizes = {image_id: image.size for image_id, image in annotated.images.items()}
    for path in predictions:
        entries = aligned(prediction_format(path).read(path, lambda: names), annotated)
        if comparable(annotated, entries) is not annotated:
            problem = f"its masks have no class, but {annotated.path} has several; training matches masks by class"
            raise FormatError(path, None, f"{problem}: give results with classes, or annotations with one")
        for image_id, found in _instances(path, entries, sizes, first).items():
            instances[image_id] += found
        first += len(entries)
    finder, needed_by = ImageFinder(images), str(annotated.path)
    return [
        ImageRecord(i, finder.named(image.file_name, needed_by), image.size, tuple(instances[i]), image.truths)
        for i, image in annotated.images.items()
        if i in instances
    ]


def refinement_records(
    images: Path,
    predictions: Path,
    entries: Sequence[Entry],
    annotations: coco.Annotations | None = None,
    exif: ExifUse = ExifUse.auto,
) -> StoredRecords:
    """Records of all images that have predictions, in the order in which the file first names them.

    Every mask is checked here, and read again when its record is asked for.

    Without annotations an image is found by the ``file_name`` of its entries, else by its id: the file whose
    name without suffix is the id, or ends in it as a number (``000000000139.jpg`` for 139), see `ImageFinder`.

    Args:
        images: Folder of images.
        predictions: The results file, for messages.
        entries: Its content.
        annotations: Where file names and sizes come from, if given; its objects are not looked at.
        exif: What to do with the EXIF orientation of the images.

    Raises:
        FormatError: If an image is missing or ambiguous, or a mask does not have the size of its image.
    """
    finder = ImageFinder(images, besides=predictions)
    numbers: dict[int | str, int] = {}
    paths: list[Path] = []
    sizes: list[Size] = []
    image_of_entry = array("q")
    for number, entry in enumerate(entries):
        image_id = entry["image_id"]
        if image_id not in numbers:
            numbers[image_id] = len(numbers)
            path, size = _locate(finder, predictions, number, entry, annotations, exif)
            paths.append(path)
            sizes.append(size)
        entry_rle(predictions, number, entry, sizes[numbers[image_id]])
        image_of_entry.append(numbers[image_id])
    positions = Positions.of(np.array(image_of_entry, np.int64), len(numbers))
    return StoredRecords(predictions, entries, positions, [*numbers], paths, sizes, exif, range(len(numbers)))


def _locate(
    finder: ImageFinder,
    predictions: Path,
    number: int,
    entry: Entry,
    annotations: coco.Annotations | None,
    exif: ExifUse,
) -> tuple[Path, Size]:
    """The image of an entry, and the (h, w) that its masks should have."""
    image_id, needed_by = entry["image_id"], named_place(predictions, number, entry)
    if annotations is None:
        name = entry.get("file_name")
        path = finder.named(name, needed_by) if name else finder.by_id(image_id, *place(predictions, number, entry))
        return path, _size_of(path, entry, exif)
    if image_id not in annotations.images:
        problem = f"image_id {image_id!r} is not in {annotations.path}: are they of one data set?"
        raise FormatError(*place(predictions, number, entry), problem)
    annotated = annotations.images[image_id]
    return finder.named(annotated.file_name, needed_by), annotated.size


def _instances(
    path: Path, entries: Sequence[Entry], sizes: Mapping[int | str, Size], first: int
) -> dict[int | str, list[CoarseInstance]]:
    found: dict[int | str, list[CoarseInstance]] = defaultdict(list)
    for number, entry in enumerate(entries):
        image_id = entry["image_id"]
        if image_id not in sizes:
            problem = f"image_id {image_id!r} is not in the annotation file: are they of one data set?"
            raise FormatError(*place(path, number, entry), problem)
        rle = entry_rle(path, number, entry, sizes[image_id])
        found[image_id].append(CoarseInstance(rle, entry["category_id"], float(entry["score"]), first + number))
    return found


def _size_of(path: Path, entry: Entry, exif: ExifUse) -> Size:
    """(h, w) that the masks of an image should have: of the two that EXIF allows, the one its first mask has."""
    stored, oriented = image_sizes(path)
    if exif is ExifUse.ignore:
        return stored
    segmentation = entry["segmentation"]
    masks = segmentation.get("size") if isinstance(segmentation, dict) else None
    return stored if exif is ExifUse.auto and isinstance(masks, list) and tuple(masks) == stored else oriented
