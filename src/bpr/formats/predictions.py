"""Predictions in any format: read, joined with annotations, and written back with other masks."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bpr.formats import cityscapes, coco, coco_annotations, labelme, mask_images, panoptic, sam, yolo
from bpr.formats.annotations import Annotations, segmentation_rle
from bpr.formats.entries import Entry, first_member, is_gzip
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.files import files_in, visible_files
from bpr.formats.json_fields import holds_object, may_be_json, read_json
from bpr.formats.name_matching import ImageNames, strip_suffix
from bpr.formats.prediction_format import ImageSizes, PredictionFormat
from bpr.structures import Prediction, Rle, Size

_log = logging.getLogger(__name__)

FORMATS: Final = {
    form.name: form
    for form in (
        coco.FORMAT,
        coco.JSON_LINES,
        coco_annotations.FORMAT,
        cityscapes.FORMAT,
        panoptic.FORMAT,
        yolo.FORMAT,
        labelme.FORMAT,
        sam.FORMAT,
        mask_images.FORMAT,
    )
}
"""By name."""
ANY_CLASS: Final = 1
"""Class of predictions of a format without classes."""


_TAKEN: Final = (
    "taken are COCO results (.json, .jsonl), annotation, panoptic, labelme and SAM files (.json), and folders "
    "of labelme or SAM files, YOLO labels (.txt), Cityscapes predictions (*_pred.txt) or masks (.png, .tif, .bmp); "
    "force one with format=NAME"
)


@dataclass(frozen=True)
class Predictions:
    """Predictions, as they were read or written.

    Attributes:
        path: File or folder.
        format: Of it.
        entries: One for each prediction; perhaps not in memory, then parsed at each access.
        notes: Remarks on what was read, a line each.
        assumed_class: Category id of entries without one.
    """

    path: Path
    format: PredictionFormat
    entries: Sequence[Entry]
    notes: tuple[str, ...] = ()
    assumed_class: int = ANY_CLASS

    def place(self, number: int, entry: Mapping[str, Any] | None = None) -> tuple[Path, str | None]:
        """The file that holds entry ``number``, and where in it, as `bpr.formats.errors.FormatError` takes them."""
        return self.format.place(self.path, number, self.entries[number] if entry is None else entry)

    def named_place(self, number: int, entry: Mapping[str, Any] | None = None) -> str:
        """The same as text, to be named in a message about another file."""
        path, where = self.place(number, entry)
        return f"{path}, {where}" if where else f"{path}"

    def rle(self, number: int, entry: Mapping[str, Any], size: Size) -> Rle:
        """The mask of entry ``number``, for an image of ``size`` (h, w); `FormatError` if it is none of that size."""
        path, where = self.place(number, entry)
        if self.format.masks_checked and tuple(entry["segmentation"]["size"]) != tuple(size):
            problem = f"the mask is {tuple(entry['segmentation']['size'])} (h, w), its image {tuple(size)}"
            problem += "; save it in the size of the image it was made for"
            raise FormatError(path, where, problem, Reason.mask_size)
        return segmentation_rle(path, where or "the mask", entry, size)

    def image_id(self, entry: Mapping[str, Any], annotations: Annotations | None = None) -> int | str:
        """The id of the image of an entry, where ``annotations`` have the image the one that it has there."""
        given = entry["image_id"]
        image_id: int | str = int(given) if isinstance(given, float) else given
        return image_id if annotations is None else annotations.id_of(image_id)

    def instance(self, number: int, entry: Mapping[str, Any], size: Size) -> Prediction:
        """Entry ``number``, in an image of ``size`` (h, w); `FormatError` as of `rle`.

        Without a category it has ``assumed_class``, without a score 1.
        """
        category, score = entry.get("category_id"), entry.get("score")
        category = self.assumed_class if category is None else int(category)
        return Prediction(self.rle(number, entry, size), category, 1.0 if score is None else float(score), number)

    def by_image(self, annotations: Annotations) -> dict[int | str, list[Prediction]]:
        """The predictions of each image that has some, in the order of the file, which is read once.

        Raises:
            FormatError: If an image is not annotated, or a mask does not have the size of its image.
        """
        found: dict[int | str, list[Prediction]] = {}
        for number, entry in enumerate(self.entries):
            image_id = self.image_id(entry, annotations)
            image = annotations.image(image_id, *self.place(number, entry))
            found.setdefault(image_id, []).append(self.instance(number, entry, image.size))
        return found

    def files(self) -> list[Path]:
        """All files that belong to the predictions, sorted; of a folder all that are in it but the hidden ones."""
        found = visible_files(self.path) if self.path.is_dir() else [self.path]
        if self.format.png_folder is not None:
            found += visible_files(self.format.png_folder(self.path))
        return sorted(path for path in found if path.is_file())

    def write(self, output: Path, entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Write all entries, perhaps with other masks, in the same format; gives remarks, a line each."""
        return self.format.write(output, entries, self.path) or ()

    def aligned(self, annotations: Annotations) -> "Predictions":
        """The same with the image and class ids of ``annotations``, if the format or an entry has none of its own.

        An image is found by its name (`ImageNames`), for Cityscapes also without ``_leftImg8bit``, a class by its name.
        Predictions without classes, or of one class without a name, get that of the annotations if there is only one.
        What cannot be found is left as it is, for `bpr.data.records.refinement_records` to report.
        """
        only = next(iter(annotations.categories)) if len(annotations.categories) == 1 else None
        if not self.format.names_images:
            return self if only is None else replace(self, assumed_class=only)
        by_name = {_image_name(image.file_name): image_id for image_id, image in annotations.images.items()}
        names, ids = ImageNames(by_name), {name: category for category, name in annotations.categories.items()}
        if self.format.has_classes and len({entry["category_id"] for entry in self.entries}) != 1:
            only = None
        entries = []
        for entry in self.entries:
            image_id, category = entry["image_id"], entry["category_id"]
            found = [] if image_id in annotations.images else names.find(image_id)
            if len(found) == 1:
                image_id = by_name[found[0]]
            name = entry.get("class_name", self.format.class_names.get(category))
            if name is not None:
                category = ids.get(name, category)
            elif only is not None:
                category = only
            entries.append({**entry, "image_id": image_id, "category_id": category})
        return replace(self, entries=entries)

    def comparable(self, annotations: Annotations) -> Annotations:
        """The annotations with all classes merged into one if the predictions have no class."""
        has_classes = self.format.has_classes and any(entry.get("category_id") is not None for entry in self.entries)
        if has_classes or not self.entries or len(annotations.categories) == 1:
            return annotations
        images = {
            image_id: replace(image, truths=tuple(replace(truth, category=ANY_CLASS) for truth in image.truths))
            for image_id, image in annotations.images.items()
        }
        return replace(annotations, images=images, categories={ANY_CLASS: "any class"})


def read_predictions(
    path: str | Path,
    format: str | None = None,  # noqa: A002 (as the setting is called)
    image_sizes: Callable[[], ImageSizes] = dict,
    ignore_label: int | None = None,
    polygon_tolerance: float = 0.0,
    faults: Faults | None = None,
) -> Predictions:
    """Read predictions in any format.

    Args:
        path: File or folder.
        format: One of `FORMATS`, to force it; by default the content decides.
        image_sizes: Gives the names and sizes of the images, for formats in which images are known by name, or
            coordinates are relative to their size; only called if needed.
        ignore_label: The value of label images that is no instance, such as PASCAL VOC's 255.
        polygon_tolerance: px by which polygons that are written may leave the outline of a mask.
        faults: What becomes of bad entries; by default they are errors. Those that it keeps are among the entries only
            if they have a `bpr.formats.faults.Fault.position`.

    Raises:
        FormatError: If it is missing, wrong or in no known format, or has no label images that could have
            an ``ignore_label``, or no polygons for a ``polygon_tolerance``; names file, entry and remedy.
    """
    path = Path(path)
    found = prediction_format(path, format)
    if ignore_label is not None and found is not mask_images.FORMAT:
        raise FormatError(path, None, f"has format {found.name}, which knows no ignore_label; it is for label images")
    content = found.read(path, image_sizes, ignore_label, Faults() if faults is None else faults)
    if not found.suffix and path.is_file():
        found = replace(found, suffix=path.suffix)
    if polygon_tolerance:
        if not found.has_polygons:
            having = ", ".join(form.name for form in FORMATS.values() if form.has_polygons)
            problem = f"has format {found.name}, which knows no polygon_tolerance"
            raise FormatError(path, None, f"{problem}; it is for {having}")
        found = replace(found, write=partial(found.write, tolerance=polygon_tolerance))
    return Predictions(path, found, *content)


def read_aligned(path: str | Path, annotations: Annotations) -> Predictions:
    """`read_predictions` in any format, with the ids of ``annotations``; remarks on what was read are logged."""
    sizes = {strip_suffix(image.file_name): image.size for image in annotations.images.values()}
    found = read_predictions(path, image_sizes=lambda: sizes)
    for note in found.notes:
        _log.warning("%s: %s", path, note)
    return found.aligned(annotations)


def prediction_format(path: Path, name: str | None = None) -> PredictionFormat:
    """The format of a file or folder: that of `FORMATS` which is named, or else by its content, else `FormatError`."""
    if name is not None:
        if name not in FORMATS:
            raise FormatError(path, None, f"format={name} is not known; there are {', '.join(FORMATS)}")
        return FORMATS[name]
    if not path.exists():
        raise FormatError(path, None, "cannot be read (no such file or folder); check the path")
    return _folder_format(path) if path.is_dir() else _file_format(path)


def files_of(path: Path) -> list[Path]:
    """All files that predictions are read from; only ``path`` itself if it is in no known format."""
    try:
        return [path, *Predictions(path, prediction_format(path), ()).files()]
    except FormatError:
        return [path]  # whoever reads it says what is wrong


def _file_format(path: Path) -> PredictionFormat:
    if (found := _format_of_one_image(path)) is not None:
        return found
    if panoptic.is_panoptic(path):
        return panoptic.FORMAT
    if coco.is_json_lines(path):
        return coco.JSON_LINES
    if not is_gzip(path) and not may_be_json(path):
        raise FormatError(path, None, f"is in no known format; {_TAKEN}")
    if not holds_object(path):
        return coco.FORMAT
    if first_member(path, "images", "annotations") is None:
        read_json(path)  # says so if it is no JSON at all
        raise FormatError(path, None, f"is in no known format; {_TAKEN}")
    return coco_annotations.FORMAT


def _format_of_one_image(path: Path) -> PredictionFormat | None:
    """The format of a JSON file that is of one image."""
    if labelme.is_labelme_file(path):
        return labelme.FORMAT
    return sam.FORMAT if sam.is_sam_file(path) else None


def _folder_format(path: Path) -> PredictionFormat:
    if yolo.is_label_folder(path):
        return yolo.FORMAT
    for file in files_in(path, ".json").values():
        if (found := _format_of_one_image(file)) is not None:
            return found
    if cityscapes.is_prediction_folder(path):
        return cityscapes.FORMAT
    if mask_images.is_mask_folder(path):
        return mask_images.FORMAT
    mask_images.refuse_lossy_masks(path)
    raise FormatError(path, None, f"is in no known format; {_TAKEN}")


def _image_name(file_name: str) -> str:
    return strip_suffix(file_name).removesuffix(cityscapes.IMAGE_SUFFIX.removesuffix(".png"))
