"""COCO annotation files whose masks are refined: an object with ``images``, ``annotations`` and ``categories``.

Only annotations whose mask changed are written anew; all else comes back byte for byte.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from bpr import rle as rle_codec
from bpr.cli.command import counted
from bpr.formats.annotations import Annotations, is_crowd, listed_images, segmentation_rle
from bpr.formats.coco import notes_on_missing, refined_entry
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError, Reason
from bpr.formats.json_arrays import rewrite_items
from bpr.formats.json_fields import get_id, get_score, read_json, refuse_utf16
from bpr.formats.polygons import Losses, trace
from bpr.formats.prediction_format import Content, Listed, PredictionFormat, Reading
from bpr.structures import Rle

_CROWDS: Final = "iscrowd=1; CVAT, datumaro and supervision write masks so: crowds=true refines them"


def read_coco_annotations(path: Path, how: Reading) -> Content:
    """Read the masks of a COCO annotation file, those of crowd regions only with ``how.crowds``.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives, the masks as compressed RLE; ``file_name`` is that of the
        image, ``class_name`` that of the class if it has one, and ``annotation`` the place in ``annotations``.
        ``score`` is 1 where there is none; ``category_id`` is None, with a note. Crowd regions and annotations without
        a mask are left out, and counted in a note; left out are also bad annotations that ``how.faults`` keeps.

    Raises:
        FormatError: If the file is wrong; names file, entry and remedy.
    """
    faults = how.faults
    listed, annotations = _read_lists(path)
    entries: list[Entry] = []
    left_crowds = boxes = 0
    for number, annotation in enumerate(annotations):
        checked = faults.attempt(partial(_check_fields, path, number, annotation, listed), Reason.field)
        if checked is None:
            continue
        if checked.get("iscrowd") and not how.crowds:
            left_crowds += 1
        elif not checked.get("segmentation"):
            boxes += 1
        else:
            image_id = listed.id_of(checked["image_id"])
            size = listed.images[image_id].size
            mask = faults.attempt(partial(segmentation_rle, path, place_of(number), checked, size), Reason.mask)
            entries += [] if mask is None else [_entry(number, checked, image_id, listed, mask)]
    left = [f"{counted(left_crowds, 'crowd region')} ({_CROWDS})"] * bool(left_crowds)
    left += [f"{counted(boxes, 'annotation')} without a mask"] * bool(boxes)
    notes = [f"left as they are: {' and '.join(left)}"] if left else []
    missing = Counter(category_id=sum(entry["category_id"] is None for entry in entries))
    names = {image_id: image.file_name for image_id, image in listed.images.items()}
    return Content(entries, (*notes, *notes_on_missing(missing)), Listed(names, listed.categories))


def write_coco_annotations(
    path: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path, tolerance: float = 0.0
) -> tuple[str, ...]:
    """Write the annotation file ``source`` with the masks of ``entries`` where they are others than before.

    There, ``segmentation`` stays what it was: polygons (`bpr.formats.polygons.trace`), compressed or uncompressed
    RLE; ``bbox`` and ``area``, where present, follow what is written.

    Args:
        path: File to write.
        entries: As of `read_coco_annotations`.
        source: The file that they were read from.
        tolerance: px by which a polygon may leave the outline of its mask; 0: exact.

    Returns:
        Notes on holes that were filled, and on the IoU between masks and the polygons that were written for them.
    """
    path, source = Path(path), Path(source)
    listed, annotations = _read_lists(source)
    losses = Losses()
    changed: dict[int, Entry] = {}
    for entry in entries:
        number = entry["annotation"]
        annotation = annotations[number]
        size = listed.images[listed.id_of(annotation["image_id"])].size
        before = segmentation_rle(source, place_of(number), annotation, size)
        new = rewritten(annotation, before, entry["segmentation"], place_of(number), losses, tolerance)
        if new is not None:
            changed[number] = new
    rewrite_items(source, path, "annotations", changed)
    return losses.notes()


def rewritten(
    annotation: Mapping[str, Any], before: Rle, mask: Rle, where: str, losses: Losses, tolerance: float = 0.0
) -> dict[str, Any] | None:
    """An annotation with another mask in the form it has: polygons, compressed or uncompressed RLE.

    None if what would be written is the mask ``before``. What polygons cannot hold is added to ``losses`` as of
    ``where``; see `write_coco_annotations`.
    """
    if rle_codec.is_same(before, mask):
        return None
    if isinstance(annotation["segmentation"], dict):
        return refined_entry(annotation, mask)
    polygons, holes = trace(mask, tolerance)
    written = rle_codec.from_segmentation(polygons, (mask["size"][0], mask["size"][1]))
    losses.add(where, holes, mask, written)
    if rle_codec.is_same(before, written):
        return None
    return {**refined_entry(annotation, written), "segmentation": polygons}


def place_of(number: int) -> str:
    """Where in its file an annotation is."""
    return f"annotations[{number}]"


def _read_lists(path: Path) -> tuple[Annotations, list[dict[str, Any]]]:
    """The images, without objects, with the names of classes, and annotations as they are."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in ("images", "annotations")):
        problem = "expected a COCO annotation file, an object with lists 'images' and 'annotations'"
        raise FormatError(path, None, f"{problem}, or a COCO results file, a list of predictions")
    refuse_utf16(path)
    annotations = content["annotations"]
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict) and "segments_info" in annotation:
            problem = f"is of a panoptic file, whose PNGs must be in a folder {path.with_suffix('').name} beside it"
            raise FormatError(path, place_of(number), f"{problem}; put them there")
    return Annotations(path, listed_images(path, content["images"]), _names_of(content.get("categories"))), annotations


def _names_of(categories: Any) -> dict[int, str]:
    """The names of classes, as far as they are there: only people need them."""
    known = [one for one in categories if isinstance(one, dict)] if isinstance(categories, list) else []
    pairs = ((one.get("id"), one.get("name")) for one in known)
    return {number: name for number, name in pairs if isinstance(number, int) and isinstance(name, str)}


def _check_fields(path: Path, number: int, annotation: object, listed: Annotations) -> dict[str, Any]:
    """The annotation, of which all fields but the mask have been checked."""
    where = place_of(number)
    image_id = get_id(path, where, annotation, "image_id")
    assert isinstance(annotation, dict)
    if listed.id_of(image_id) not in listed.images:
        problem = f"image_id {image_id!r} is not among the {len(listed.images)} images of this file"
        raise FormatError(path, where, f"{problem}; add it to 'images'", Reason.image_id)
    is_crowd(path, where, annotation)
    if annotation.get("category_id") is not None:
        get_id(path, where, annotation, "category_id", (int,))
    if annotation.get("score") is not None:
        get_score(path, where, annotation)
    return annotation


def _entry(number: int, annotation: Mapping[str, Any], image_id: int | str, listed: Annotations, mask: Rle) -> Entry:
    category, score = annotation.get("category_id"), annotation.get("score")
    name = None if category is None else listed.categories.get(category)
    return {
        "image_id": image_id,
        "category_id": category,
        "score": 1.0 if score is None else score,
        "segmentation": mask,
        "file_name": listed.images[image_id].file_name,
        "annotation": number,
        **({} if name is None else {"class_name": name}),
    }


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return path, place_of(entry["annotation"])


FORMAT: Final = PredictionFormat(
    "coco_annotations",
    ".json",
    read_coco_annotations,
    write_coco_annotations,
    _place,
    masks_checked=True,
    has_polygons=True,
    lists_images=True,
)
