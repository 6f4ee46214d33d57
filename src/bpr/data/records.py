"""Join predictions, annotations and images on disk into `ImageRecord`s."""

import re
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from bpr.data.pixels import image_sizes
from bpr.data.stored_records import Positions, StoredRecords
from bpr.formats import coco
from bpr.formats.alignment import aligned, comparable
from bpr.formats.errors import FormatError
from bpr.formats.registry import prediction_format
from bpr.formats.stored import Entry
from bpr.structures import CoarseInstance, ExifUse, ImageRecord, Size

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


def training_records(images: Path, annotated: coco.Annotations, predictions: Sequence[Path]) -> list[ImageRecord]:
    """Records of annotated images; the predictions of several segmenters are joined image by image.

    Args:
        images: Folder of images.
        annotated: Images and objects; their order is kept. Images without predictions are left out.
        predictions: Files or folders in any format of `bpr.formats.registry`. `CoarseInstance.position` counts on
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
    finder = _ImageFinder(images)
    return [
        ImageRecord(i, finder.named(image.file_name), image.size, tuple(instances[i]), image.truths)
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
    name without suffix is the id, or ends in it as a number (``000000000139.jpg`` for 139).

    Args:
        images: Folder of images.
        predictions: The results file, for messages.
        entries: Its content.
        annotations: Where file names and sizes come from, if given; its objects are not looked at.
        exif: What to do with the EXIF orientation of the images.

    Raises:
        FormatError: If an image is missing or ambiguous, or a mask does not have the size of its image.
    """
    finder = _ImageFinder(images)
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
        coco.result_rle(predictions, number, entry, sizes[numbers[image_id]])
        image_of_entry.append(numbers[image_id])
    positions = Positions.of(np.array(image_of_entry, np.int64), len(numbers))
    return StoredRecords(predictions, entries, positions, [*numbers], paths, sizes, exif, range(len(numbers)))


def _locate(
    finder: "_ImageFinder",
    predictions: Path,
    number: int,
    entry: Entry,
    annotations: coco.Annotations | None,
    exif: ExifUse,
) -> tuple[Path, Size]:
    """The image of an entry, and the (h, w) that its masks should have."""
    image_id, where = entry["image_id"], f"entry {number}"
    if annotations is None:
        name = entry.get("file_name")
        path = finder.named(name) if name else finder.by_id(image_id, predictions, where)
        return path, _size_of(path, entry, exif)
    if image_id not in annotations.images:
        raise FormatError(
            predictions, where, f"image_id {image_id!r} is not in {annotations.path}: are they of one data set?"
        )
    annotated = annotations.images[image_id]
    return finder.named(annotated.file_name), annotated.size


def _instances(
    path: Path, entries: Sequence[Entry], sizes: Mapping[int | str, Size], first: int
) -> dict[int | str, list[CoarseInstance]]:
    found: dict[int | str, list[CoarseInstance]] = defaultdict(list)
    for number, entry in enumerate(entries):
        image_id = entry["image_id"]
        if image_id not in sizes:
            raise FormatError(path, f"entry {number}", f"image_id {image_id!r} is not in the annotation file")
        rle = coco.result_rle(path, number, entry, sizes[image_id])
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


class _ImageFinder:
    """Finds image files in one folder, which is listed once, and only if something has to be looked up."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FormatError(folder, None, "is not a folder; `images` must name the folder of the images")
        self._folder = folder
        self._by_name: dict[str, list[Path]] | None = None
        self._by_stem: dict[str, list[Path]] | None = None
        self._by_number: dict[int, list[Path]] = defaultdict(list)

    def named(self, file_name: str) -> Path:
        """A file of this name, or else the only one below the folder whose path ends so (Cityscapes' city folders)."""
        path = self._folder / file_name
        if path.is_file():
            return path
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for found in sorted(self._folder.rglob("*")):
                self._by_name[found.name].append(found)
        below = self._by_name.get(PurePosixPath(file_name).name, [])
        if len(below) == 1 and below[0].is_file():
            return below[0]
        problem = (
            "is missing" if not below else f"is not there, but {len(below)} files of that name are below the folder"
        )
        raise FormatError(path, None, f"{problem}; `images` must name the folder that file names start from")

    def by_id(self, image_id: int | str, predictions: Path, where: str) -> Path:
        if self._by_stem is None:
            self._list()
        assert self._by_stem is not None
        found = self._by_stem.get(str(image_id)) or (
            self._by_number.get(image_id) if isinstance(image_id, int) else None
        )
        if not found:
            raise FormatError(
                predictions,
                where,
                f"no image in {self._folder} is named after image_id {image_id!r}; "
                "give annotations=FILE (a COCO file whose 'images' list the names)",
            )
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:3])
            raise FormatError(
                predictions, where, f"image_id {image_id!r} fits several images ({names}); give annotations=FILE"
            )
        return found[0]

    def _list(self) -> None:
        self._by_stem = defaultdict(list)
        for path in sorted(self._folder.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            self._by_stem[path.stem].append(path)
            number = re.search(r"(\d+)$", path.stem)
            if number:
                self._by_number[int(number[1])].append(path)
