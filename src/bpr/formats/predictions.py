"""Predictions in any format: read, joined with annotations, and written back with other masks."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bpr.cli.command import counted
from bpr.formats import coco_annotations, mask_images
from bpr.formats.alignment import align_listed, align_named
from bpr.formats.annotations import Annotations, segmentation_rle
from bpr.formats.entries import ANY_CLASS, Entry, StoredEntries
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.files import linked_folders, visible_files
from bpr.formats.format_detection import FORMATS, prediction_format
from bpr.formats.name_matching import strip_suffix
from bpr.formats.prediction_format import NOTHING_LISTED, ImageSizes, Listed, PredictionFormat, Reading
from bpr.structures import Prediction, Rle, Size

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """Predictions, as they were read or written.

    Attributes:
        path: File or folder.
        format: Of it.
        entries: One for each prediction; perhaps not in memory, then parsed at each access.
        notes: Remarks on what was read, a line each; all are there once the entries were read.
        assumed_class: Category id of entries without one.
        listed: Names of images and classes, where the file lists them by ids of its own.
    """

    path: Path
    format: PredictionFormat
    entries: Sequence[Entry]
    notes: Sequence[str] = ()
    assumed_class: int = ANY_CLASS
    listed: Listed = NOTHING_LISTED

    def place(self, number: int, entry: Mapping[str, Any] | None = None) -> tuple[Path, str | None]:
        """The file that holds entry ``number``, and where in it, as `bpr.formats.errors.FormatError` takes them."""
        if self.format.place is None:
            return self.path, f"entry {number}"
        return self.format.place(self.path, self.entries[number] if entry is None else entry)

    def named_place(self, number: int, entry: Mapping[str, Any] | None = None) -> str:
        """The same as text, to be named in a message about another file."""
        path, where = self.place(number, entry)
        return f"{path}, {where}" if where else f"{path}"

    def place_within(self, number: int) -> str:
        """Like `named_place`, but without the file or folder that all predictions are in."""
        path, where = self.place(number)
        name = path.relative_to(self.path).as_posix() if path.is_relative_to(self.path) else path.name
        shown = [name] if path != self.path else []
        return ", ".join(shown + ([where.replace(f"{self.path}{os.sep}", "")] if where else []))

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
        if annotations is not None:
            return annotations.id_of(given)
        return int(given) if isinstance(given, float) else given

    def check_name(self, number: int, entry: Mapping[str, Any], image_id: int | str, annotations: Annotations) -> None:
        """`FormatError` if the ``file_name`` of a result is that of another image in the annotations."""
        name = entry.get("file_name")
        if not isinstance(name, str) or self.format.names_images or self.format.lists_images:
            return
        if image_id in annotations.images and (named := annotations.ids_named(name)) and image_id not in named:
            there = f"is {annotations.images[image_id].file_name} in {annotations.path}"
            problem = f"image_id {entry['image_id']!r} {there}, but file_name is {name}"
            remedy = "give the annotations that the predictions were made for, or leave file_name out"
            raise FormatError(*self.place(number, entry), f"{problem}; {remedy}", Reason.image_id)

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
            self.check_name(number, entry, image_id, annotations)
            found.setdefault(image_id, []).append(self.instance(number, entry, image.size))
        return found

    @property
    def class_names(self) -> dict[int, str]:
        """Names of classes by their ids in the entries, as far as the format or an entry has them."""
        pairs = ((e.get("category_id"), e.get("class_name")) for e in self.entries if isinstance(e, Mapping))
        named = {category: name for category, name in pairs if isinstance(category, int) and isinstance(name, str)}
        return {**self.format.class_names, **named}

    @property
    def content(self) -> str | None:
        """Digest of the file, where it was taken while the entries were read."""
        return self.entries.content if isinstance(self.entries, StoredEntries) else None

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
        """The same with the image and class ids of ``annotations``, as far as entries have ids or names of their own.

        See `align_named` and `align_listed`. Of other formats, results, ids are those of the annotations;
        predictions without a class get that of the annotations if there is only one.
        """
        if self.format.names_images:
            return replace(self, entries=align_named(self.entries, self.format, annotations))
        only = annotations.only_class
        assumed = self if only is None else replace(self, assumed_class=only)
        if not self.format.lists_images:
            return assumed
        entries, notes = align_listed(self.entries, self.listed, self.path, annotations)
        return replace(assumed, entries=entries, notes=[*self.notes, *notes])

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
    crowds: bool = False,
    check: bool = True,
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
        crowds: Whether the crowd regions of COCO annotations are read too.
        check: Whether to check `StoredEntries` now; else when they are first read from the first to the last one.

    Raises:
        FormatError: If it is missing, wrong or in no known format, or has no label images that could have
            an ``ignore_label``, no polygons for a ``polygon_tolerance``, or no ``crowds``; names file, entry and
            remedy.
    """
    path = Path(path)
    found = prediction_format(path, format)
    if ignore_label is not None and found is not mask_images.FORMAT:
        raise FormatError(path, None, f"has format {found.name}, which knows no ignore_label; it is for label images")
    if crowds and found is not coco_annotations.FORMAT:
        raise FormatError(path, None, f"has format {found.name}, which knows no crowds; they are of coco_annotations")
    content = found.read(path, Reading(image_sizes, ignore_label, crowds, faults or Faults()))
    if check:
        len(content.entries)
    if not found.suffix and path.is_file():
        found = replace(found, suffix=Path(path.name.removesuffix(".gz")).suffix)
    if polygon_tolerance:
        if not found.has_polygons:
            having = ", ".join(form.name for form in FORMATS.values() if form.has_polygons)
            problem = f"has format {found.name}, which knows no polygon_tolerance"
            raise FormatError(path, None, f"{problem}; it is for {having}")
        found = replace(found, write=partial(found.write, tolerance=polygon_tolerance))
    if linked := linked_folders(path):
        some = ", ".join(linked[:3]) + (", ..." if len(linked) > 3 else "")
        note = f"{counted(len(linked), 'link')} to folders passed over ({some})"
        note += "; put the folders there, or refine them apart"
        content = content._replace(notes=[*content.notes, note])
    return Predictions(path, found, content.entries, content.notes, listed=content.listed)


def read_aligned(path: str | Path, annotations: Annotations) -> Predictions:
    """`read_predictions` in any format, with the ids of ``annotations``; remarks on what was read are logged."""
    sizes = {strip_suffix(image.file_name): image.size for image in annotations.images.values()}
    found = read_predictions(path, image_sizes=lambda: sizes).aligned(annotations)
    for note in found.notes:
        _log.warning("%s: %s", path, note)
    return found


def files_of(path: Path) -> list[Path]:
    """All files that predictions are read from; only ``path`` itself if it is in no known format."""
    try:
        return [path, *Predictions(path, prediction_format(path), ()).files()]
    except FormatError:
        return [path]  # whoever reads it says what is wrong
