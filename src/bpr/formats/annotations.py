"""Annotation files: which images there are, and which objects are in them."""

import logging
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from bpr import rle as rle_codec
from bpr.cli.command import counted
from bpr.formats.errors import FormatError, Reason
from bpr.formats.json_fields import get_field, get_id, get_list, read_json
from bpr.formats.name_matching import ImageNames, as_number, strip_suffix
from bpr.structures import ClassCoverage, Rle, Size, TrueInstance

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image of an annotation file.

    Attributes:
        file_name: As in the file.
        size: (h, w), px.
        truths: Annotated objects, in the order of the file.
        coverage: Of LVIS, which classes were checked; None where all objects are annotated.
    """

    file_name: str
    size: Size
    truths: tuple[TrueInstance, ...]
    coverage: ClassCoverage | None = None


@dataclass(frozen=True)
class Annotations:
    """A COCO annotation file.

    Attributes:
        path: Where it was read.
        images: By image id, in the order of the file.
        categories: Names by category id.
    """

    path: Path
    images: dict[int | str, AnnotatedImage]
    categories: dict[int, str]

    @property
    def has_truths(self) -> bool:
        """Whether any object is annotated (files that only list images, as for a test set, have none)."""
        return any(image.truths for image in self.images.values())

    def id_of(self, given: float | str) -> int | str:
        """The id of the image that is meant by an id of another type or a name; itself if there is none or several.

        A float is a whole number. Text that is a number as Python writes it, is that id. Other text is the
        ``file_name`` of an image, with or without folders and suffix, or else the number in it: ``000000000139.jpg``
        is 139.
        """
        image_id = int(given) if isinstance(given, float) else given
        text = str(image_id)
        if image_id in self.images or text in self._by_text or not isinstance(image_id, str):
            return image_id if image_id in self.images else self._by_text.get(text, image_id)
        if len(found := self.ids_named(text)) == 1:
            return found[0]
        number = as_number(strip_suffix(text).rpartition("/")[2])
        return self._by_text.get(str(number), image_id) if isinstance(number, int) else image_id

    def ids_named(self, file_name: str) -> list[int | str]:
        """Ids of the images of this name, with its suffix or without; else of those that agree (`ImageNames.find`)."""
        if file_name in self._by_name:
            return self._by_name[file_name]
        if file_name not in self._found:
            names = file_name, _stem(file_name)
            looks = (look(name) for look in (self._names.same, self._names.find) for name in names)
            agreeing = next(filter(None, looks), [])
            self._found[file_name] = [one for name in agreeing for one in self._by_name[name]]
        return self._found[file_name]

    @property
    def only_class(self) -> int | None:
        """The id of the class, if there is just one."""
        return next(iter(self.categories)) if len(self.categories) == 1 else None

    @cached_property
    def _found(self) -> dict[str, list[int | str]]:
        """What `ids_named` has found, by names."""
        return {}

    @cached_property
    def _by_text(self) -> dict[str, int | str]:
        return {str(image_id): image_id for image_id in self.images}

    @cached_property
    def _by_name(self) -> dict[str, list[int | str]]:
        """Ids by names with and without suffix; without, ``a.jpg`` and ``a.png`` are alike."""
        found: dict[str, list[int | str]] = defaultdict(list)
        for image_id, image in self.images.items():
            for name in {image.file_name, _stem(image.file_name)}:
                found[name].append(image_id)
        return found

    @cached_property
    def _names(self) -> ImageNames:
        return ImageNames(self._by_name)

    def image(self, image_id: int | str, path: Path, where: str | None) -> AnnotatedImage:
        """The image that is named at this place of a file; `FormatError` if it is not in the annotations."""
        if image_id not in self.images:
            known = f"the {len(self.images)} images of {self.path} (ids such as {next(iter(self.images), None)!r})"
            remedy = "give the annotation file that the results were made for"
            problem = f"image_id {image_id!r} is not among {known}; {remedy}"
            raise FormatError(path, where, problem, Reason.image_id)
        return self.images[image_id]


def _stem(file_name: str) -> str:
    """The name without its suffix, if that begins with a letter: ``IM.0002`` has none."""
    return strip_suffix(file_name) if PureWindowsPath(file_name).suffix[1:2].isalpha() else file_name


def read_annotations(path: str | Path) -> Annotations:
    """Read a COCO annotation file, or a folder of Cityscapes ground truth (``gtFine/val``).

    Of a COCO file, ``annotations`` and ``categories`` may be missing; polygons and uncompressed RLE become compressed
    RLE; annotations whose ``segmentation`` is empty or missing are no objects. LVIS files, whose images have a
    ``coco_url`` instead of a ``file_name``, are read too.

    Raises:
        FormatError: If it is missing or wrong; names file, entry and remedy.
    """
    from bpr.formats.cityscapes import read_ground_truth  # which needs the types above

    path = Path(path)
    return read_ground_truth(path) if path.is_dir() else _read_coco(path)


def listed_images(path: Path, listed: Sequence[object]) -> dict[int | str, AnnotatedImage]:
    """The ``images`` of a COCO file by their ids, in order, without objects; `FormatError` if one is wrong."""
    images: dict[int | str, AnnotatedImage] = {}
    for number, image in enumerate(listed):
        where = f"images[{number}]"
        image_id = get_id(path, where, image, "id")
        assert isinstance(image, dict)
        size = (_count(path, where, image, "height"), _count(path, where, image, "width"))
        if image_id in images:
            raise FormatError(path, where, f"image id {image_id!r} occurs twice")
        file_name, coverage = _file_name(path, where, image), _coverage(path, where, image)
        images[image_id] = AnnotatedImage(file_name, size, (), coverage)
    return images


def is_crowd(path: Path, where: str, annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is of a crowd region; `FormatError` if its ``iscrowd`` is neither 0 nor 1."""
    value = annotation.get("iscrowd") or 0
    if value not in (0, 1):
        raise FormatError(path, where, f"'iscrowd' must be 0 or 1, got {value!r:.60}")
    return bool(value)


def segmentation_rle(path: Path, where: str, entry: Mapping[str, Any], size: Size) -> Rle:
    """The mask of an entry of a COCO file, for an image of ``size`` (h, w); `FormatError` if it has none."""
    if "segmentation" not in entry:
        raise FormatError(path, where, "'segmentation' is missing", Reason.no_mask)
    try:
        return rle_codec.from_segmentation(entry["segmentation"], size)
    except (ValueError, TypeError, UnicodeError) as error:
        raise FormatError(path, where, f"segmentation: {error}", _reason(entry["segmentation"], size)) from error


def _reason(segmentation: object, size: Size) -> Reason:
    """Why this is no mask for an image of ``size``."""
    if segmentation is None:
        return Reason.no_mask
    other = isinstance(segmentation, Mapping) and segmentation.get("size", [*size]) != [*size]
    return Reason.mask_size if other else Reason.mask


def _read_coco(path: Path) -> Annotations:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise FormatError(path, None, "expected a COCO annotation file: an object with a list 'images'")
    images = listed_images(path, content["images"])
    objects = _objects(path, get_list(path, content, "annotations"), images)
    categories = {
        get_id(path, f"categories[{number}]", category, "id", (int,)): _name_of(category)
        for number, category in enumerate(get_list(path, content, "categories"))
    }
    for image_id, found in objects.items():
        images[image_id] = replace(images[image_id], truths=tuple(found))
    return Annotations(path, images, categories)


def _objects(
    path: Path, annotations: Sequence[object], images: dict[int | str, AnnotatedImage]
) -> dict[int | str, list[TrueInstance]]:
    """The objects of each image that has some; annotations without a polygon, which are boxes, are none, and logged."""
    objects: dict[int | str, list[TrueInstance]] = defaultdict(list)
    listed, boxes = Annotations(path, images, {}), 0
    for number, annotation in enumerate(annotations):
        where = f"annotations[{number}]"
        given = get_id(path, where, annotation, "image_id")
        assert isinstance(annotation, dict)
        image_id, crowd = listed.id_of(given), is_crowd(path, where, annotation)
        if image_id not in images:
            raise FormatError(path, where, f"image_id {given!r} is not among the images of this file")
        if not annotation.get("segmentation"):
            boxes += 1
            continue
        rle = segmentation_rle(path, where, annotation, images[image_id].size)
        category = get_id(path, where, annotation, "category_id", (int,))
        objects[image_id].append(TrueInstance(rle, category, crowd, _area(path, where, annotation)))
    if boxes:
        found = counted(boxes, "annotation has", "annotations have")
        _log.warning("%s: %s no mask; they count as no objects", path, found)
    return objects


def _name_of(category: Mapping[str, Any]) -> str:
    name = category.get("name")
    return str(category["id"] if name is None else name)


def _file_name(path: Path, where: str, image: dict[str, Any]) -> str:
    """``file_name``, or for LVIS the last two parts of ``coco_url`` (``val2017/000000397133.jpg``)."""
    if "file_name" not in image and isinstance(image.get("coco_url"), str):
        return "/".join(image["coco_url"].split("/")[-2:])
    name: str = get_field(path, where, image, "file_name", (str,))
    return name


def _coverage(path: Path, where: str, image: Mapping[str, Any]) -> ClassCoverage | None:
    names = ("neg_category_ids", "not_exhaustive_category_ids")
    if not any(name in image for name in names):
        return None
    lists = [image.get(name, []) for name in names]
    for name, classes in zip(names, lists, strict=True):
        if not isinstance(classes, list) or not all(isinstance(c, int) for c in classes):
            raise FormatError(path, where, f"'{name}' must be a list of category ids, got {classes!r:.60}")
    return ClassCoverage(*map(frozenset, lists))


def _count(path: Path, where: str, entry: object, name: str) -> int:
    value: int = get_field(path, where, entry, name, (int,))
    if value < 1:
        raise FormatError(path, where, f"'{name}' must be at least 1 px, got {value}")
    return value


def _area(path: Path, where: str, annotation: Mapping[str, Any]) -> float | None:
    area = annotation.get("area")
    if area is None:
        return None
    if isinstance(area, bool) or not isinstance(area, int | float) or not 0 <= area <= sys.float_info.max:
        problem = f"'area' must be a number of px^2 >= 0, got {area!r:.60}; leave it out to count mask pixels"
        raise FormatError(path, where, problem)
    return float(area)
