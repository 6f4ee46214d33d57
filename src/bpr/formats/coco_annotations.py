"""COCO annotation files whose masks are refined: an object with ``images``, ``annotations`` and ``categories``.

Only annotations whose mask changed are written anew; all else comes back byte for byte.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from bpr import rle as rle_codec
from bpr.formats.annotations import AnnotatedImage, listed_images, segmentation_rle
from bpr.formats.coco import refined_entry
from bpr.formats.entries import Entry, array_spans
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.files import replacing
from bpr.formats.json_fields import get_id, get_score, holds_object, read_json
from bpr.formats.polygons import trace
from bpr.formats.prediction_format import Content, PredictionFormat
from bpr.structures import Rle

_NO_CLASS: Final = 1


def read_coco_annotations(path: str | Path, faults: Faults | None = None) -> Content:
    """Read the masks of a COCO annotation file.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives, the masks as compressed RLE; ``file_name`` is that of the
        image and ``annotation`` the place in ``annotations``. ``score`` and ``category_id`` are 1 where there are none.
        Crowd regions and annotations without a mask are left out, and counted in a note; left out are also bad
        annotations that ``faults`` keeps.

    Raises:
        FormatError: If the file is wrong; names file, entry and remedy.
    """
    path, faults = Path(path), faults or Faults()
    images, annotations = _read_lists(path)
    entries: list[Entry] = []
    crowds = boxes = 0
    for number, annotation in enumerate(annotations):
        checked = faults.attempt(partial(_check_fields, path, number, annotation, images), Reason.field)
        if checked is None:
            continue
        if checked.get("iscrowd"):
            crowds += 1
        elif not checked.get("segmentation"):
            boxes += 1
        else:
            image = images[checked["image_id"]]
            mask = faults.attempt(partial(segmentation_rle, path, _name(number), checked, image.size), Reason.mask)
            entries += [] if mask is None else [_entry(number, checked, image, mask)]
    left = [f"{crowds} crowd regions"] * bool(crowds) + [f"{boxes} annotations without a mask"] * bool(boxes)
    return Content(entries, (f"left as they are: {' and '.join(left)}",) if left else ())


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
    images, annotations = _read_lists(source)
    losses = _Losses()
    changed: dict[int, bytes] = {}
    for entry in entries:
        number = entry["annotation"]
        annotation, size = annotations[number], images[entry["image_id"]].size
        before = segmentation_rle(source, _name(number), annotation, size)
        if _is_same(before, entry["segmentation"]):
            continue
        written = entry["segmentation"]
        refined = refined_entry(annotation, written)
        if not isinstance(annotation["segmentation"], dict):
            polygons, holes = trace(written, tolerance)
            written = rle_codec.from_segmentation(polygons, size)
            losses.add(number, holes, entry["segmentation"], written)
            refined = {**refined_entry(annotation, written), "segmentation": polygons}
        if not _is_same(before, written):
            changed[number] = json.dumps(refined).encode()
    content = source.read_bytes()
    with source.open("rb") as file, replacing(path) as unfinished, unfinished.open("wb") as output:
        end = 0
        for number, (start, length, _) in enumerate(array_spans(file, "annotations")):
            if number in changed:
                output.write(content[end:start] + changed[number])
                end = start + length
        output.write(content[end:])
    return losses.notes()


@dataclass
class _Losses:
    """What polygons could not hold: holes by annotation, and by annotation the IoU that was lost."""

    holes: dict[int, int] = field(default_factory=dict)
    iou: dict[int, float] = field(default_factory=dict)

    def add(self, number: int, holes: int, meant: Rle, written: Rle) -> None:
        if holes:
            self.holes[number] = holes
        self.iou[number] = 1 - float(rle_codec.iou([meant], [written])[0, 0])

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.holes:
            total = sum(self.holes.values())
            notes.append(f"{total} holes in {len(self.holes)} masks were filled, since COCO polygons cannot hold them")
        if any(self.iou.values()):
            mean, worst = sum(self.iou.values()) / len(self.iou), max(self.iou, key=self.iou.__getitem__)
            lost = f"mean {mean:.4f}, worst {self.iou[worst]:.4f} ({_name(worst)})"
            notes.append(f"IoU lost by writing {len(self.iou)} masks as polygons: {lost}")
        return tuple(notes)


def _is_same(one: Rle, other: Rle) -> bool:
    return one["counts"] == other["counts"] or bool(rle_codec.iou([one], [other])[0, 0] == 1)


def _read_lists(path: Path) -> tuple[dict[int | str, AnnotatedImage], list[dict[str, Any]]]:
    """Images by id, and annotations as they are."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in ("images", "annotations")):
        problem = "expected a COCO annotation file, an object with lists 'images' and 'annotations'"
        raise FormatError(path, None, f"{problem}, or a COCO results file, a list of predictions")
    if not holds_object(path):
        raise FormatError(path, None, "is not UTF-8; save it as UTF-8")
    annotations = content["annotations"]
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, dict) and "segments_info" in annotation:
            problem = f"is of a panoptic file, whose PNGs must be in a folder {path.with_suffix('').name} beside it"
            raise FormatError(path, _name(number), f"{problem}; put them there")
    return listed_images(path, content["images"]), annotations


def _check_fields(
    path: Path, number: int, annotation: object, images: Mapping[int | str, AnnotatedImage]
) -> dict[str, Any]:
    """The annotation, of which all fields but the mask have been checked."""
    where = _name(number)
    image_id = get_id(path, where, annotation, "image_id")
    assert isinstance(annotation, dict)
    if image_id not in images:
        problem = f"image_id {image_id!r} is not among the {len(images)} images of this file"
        raise FormatError(path, where, f"{problem}; add it to 'images'", Reason.image_id)
    if annotation.get("category_id") is not None:
        get_id(path, where, annotation, "category_id", (int,))
    if "score" in annotation:
        get_score(path, where, annotation)
    return annotation


def _entry(number: int, annotation: Mapping[str, Any], image: AnnotatedImage, mask: Rle) -> Entry:
    category = annotation.get("category_id")
    return {
        "image_id": annotation["image_id"],
        "category_id": _NO_CLASS if category is None else category,
        "score": annotation.get("score", 1.0),
        "segmentation": mask,
        "file_name": image.file_name,
        "annotation": number,
    }


def _name(number: int) -> str:
    return f"annotations[{number}]"


def _read(path: Path, _names: object, _ignored: object, faults: Faults) -> Content:
    return read_coco_annotations(path, faults)


def _place(path: Path, _number: int, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return path, _name(entry["annotation"])


FORMAT: Final = PredictionFormat("coco_annotations", ".json", _read, write_coco_annotations, _place, masks_checked=True)
