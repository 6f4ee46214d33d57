"""COCO panoptic predictions: a JSON file, and beside it a folder of PNGs whose colours are segment ids.

Only things are refined; stuff stays, but gives way where a refined thing grows into it.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from bpr import rle as rle_codec
from bpr.formats.coco import xywh
from bpr.formats.decoding import opened_image
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError, Reason
from bpr.formats.files import copy_file, replacing, resolve_inside, write_text
from bpr.formats.json_arrays import first_item
from bpr.formats.json_fields import get_field, get_list, get_score, holds_object, read_json
from bpr.formats.label_images import coded
from bpr.formats.prediction_format import Content, Listed, PredictionFormat, Reading

VOID: Final = 0
"""Segment id of pixels that belong to nothing."""
_COLOURS: Final = 1 << 24

_Ids = NDArray[np.uint32]


def is_panoptic(path: Path) -> bool:
    """Whether a JSON file holds an object, and a folder of the same name is beside it, as COCO has them.

    It is none if its first annotation has a box or a mask of its own, as those of an annotation file.
    """
    if not path.is_file() or path.suffix != ".json" or not path.with_suffix("").is_dir() or not holds_object(path):
        return False
    first = first_item(path, "annotations")  # of a broken file None: `read_panoptic` says what is wrong
    return not isinstance(first, dict) or first.keys().isdisjoint({"segmentation", "bbox"})


def read_panoptic(path: Path, how: Reading) -> Content:
    """Read the things of a panoptic file ``NAME.json``; the PNGs are in the folder ``NAME``.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives; ``score`` is that of the segment, or 1. ``segment`` is
        its id and ``png_file`` its file; ``class_name`` is that of its category, if it has one. Crowd segments are left
        out, and what ``how.faults`` keeps: PNGs that cannot be read, and segments without a pixel.

    Raises:
        FormatError: If the file or a PNG is wrong; names file, entry and remedy.
    """
    content, faults = _read_checked(path), how.faults
    things = {category["id"]: category.get("name") for category in content["categories"] if category["isthing"]}
    names = _names_of_images(content)
    entries: list[Entry] = []
    for number, annotation in enumerate(content["annotations"]):
        chosen = [s for s in annotation["segments_info"] if s["category_id"] in things and not s.get("iscrowd", 0)]
        if not chosen:
            continue
        png = _png_folder(path) / resolve_inside(annotation["file_name"])
        ids = faults.attempt(partial(read_ids, png), Reason.mask, masks=len(chosen))
        if ids is None:
            continue
        for segment in chosen:
            mask = faults.attempt(partial(_mask_of, path, number, annotation, segment["id"], ids), Reason.no_mask)
            if mask is None:
                continue
            entry: Entry = {
                "image_id": annotation["image_id"],
                "category_id": segment["category_id"],
                "score": float(segment.get("score", 1.0)),
                "segmentation": rle_codec.encode(mask),
                "segment": segment["id"],
                "png_file": annotation["file_name"],
            }
            if annotation["image_id"] in names:
                entry["file_name"] = names[annotation["image_id"]]
            if isinstance(name := things[segment["category_id"]], str):
                entry["class_name"] = name
            entries.append(entry)
    classes = {number: name for number, name in things.items() if isinstance(name, str)}
    return Content(entries, (), Listed(names, classes))


def _names_of_images(content: Mapping[str, Any]) -> dict[int | str, str]:
    """Names of images by the ids that annotations have, of which either may be text."""
    ids = {str(annotation["image_id"]): annotation["image_id"] for annotation in content["annotations"]}
    named = (image for image in content.get("images", []) if "file_name" in image)
    return {ids.get(str(image["id"]), image["id"]): image["file_name"] for image in named}


def write_panoptic(path: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path) -> None:
    """Write a panoptic file and its folder of PNGs, with the things of ``entries`` in the place of the old ones.

    A pixel that a thing loses becomes void. Where refined things overlap, a pixel stays with the one that had it, or
    goes to the one with the highest score. ``area`` and ``bbox`` follow; a thing of which no pixel is left in the
    PNG is left out of ``segments_info``. PNGs without a thing to be painted are copied, if they are there, and their
    annotations stay as they are. The PNGs must not go into the folder of ``source``, the file that was read.
    """
    path, source = Path(path), Path(source)
    if _png_folder(path).resolve() == _png_folder(source).resolve():
        raise FormatError(path, None, f"would replace the PNGs in {_png_folder(source)}; give another name")
    content = _read_checked(source)
    of_file: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        of_file[entry["png_file"]].append(entry)
    annotations = []
    for annotation in content["annotations"]:
        name, inside = annotation["file_name"], resolve_inside(annotation["file_name"])
        png = _png_folder(source) / inside
        if not of_file[name]:
            annotations.append(annotation)
            if os.path.isfile(png):
                copy_file(png, _png_folder(path) / inside)
            continue
        before = read_ids(png)
        ids = repainted(before, of_file[name])
        with replacing(_png_folder(path) / inside) as unfinished:
            colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
            PillowImage.fromarray(colours).save(unfinished, format="PNG")
        segments = [_updated(segment, before, ids) for segment in annotation["segments_info"]]
        annotations.append({**annotation, "segments_info": [s for s in segments if s is not None]})
    write_text(path, json.dumps({**content, "annotations": annotations}))


def repainted(ids: _Ids, entries: Iterable[Mapping[str, Any]]) -> _Ids:
    """(h, w) segment ids with other masks for the things in ``entries``; see `write_panoptic`."""
    by_score = sorted(entries, key=lambda entry: entry["score"])
    masks = [(entry["segment"], rle_codec.decode(entry["segmentation"])) for entry in by_score]
    result = np.where(np.isin(ids, [segment for segment, _ in masks]), VOID, ids)
    for segment, mask in masks:
        result[mask] = segment
    for segment, mask in masks:
        result[mask & (ids == segment)] = segment
    return result


def read_ids(path: Path) -> _Ids:
    """(h, w) uint32 segment ids of a panoptic PNG: red + 256 green + 65,536 blue; `FormatError` if it is none."""
    with opened_image(path) as image:
        if image.mode not in ("RGB", "RGBA"):
            raise FormatError(path, None, f"must be a colour image whose colours are segment ids, got {image.mode}")
        return coded(np.asarray(image.convert("RGB"))[..., ::-1])


def _mask_of(path: Path, number: int, annotation: Mapping[str, Any], segment: int, ids: _Ids) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = ids == segment
    if not mask.any():
        problem = f"segment {segment} has no pixel in {annotation['file_name']}"
        raise FormatError(path, f"annotations[{number}]", problem)
    return mask


def _updated(segment: Mapping[str, Any], before: _Ids, ids: _Ids) -> dict[str, Any] | None:
    """A segment as it is now; None if it has lost all its pixels."""
    mask, updated = ids == segment["id"], dict(segment)
    if not mask.any():
        return None if (before == segment["id"]).any() else updated
    code = rle_codec.encode(mask)
    if "area" in segment:
        updated["area"] = rle_codec.area(code)
    if "bbox" in segment:
        updated["bbox"] = [int(v) for v in xywh(code)]
    return updated


def _png_folder(path: Path) -> Path:
    return path.with_suffix("")


def _read_checked(path: Path) -> dict[str, Any]:
    """The JSON file, in which all fields that are used here have been checked."""
    if not path.suffix:
        raise FormatError(path, None, "has no suffix; a panoptic file is NAME.json, beside a folder NAME of PNGs")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise FormatError(path, None, "expected a COCO panoptic file: an object with a list 'annotations'")
    categories = _check_categories(path, content)
    image_ids = set[int | str]()
    for number, image in enumerate(get_list(path, content, "images")):
        image_id = get_field(path, f"images[{number}]", image, "id", (int, str))
        if image_id in image_ids:
            raise FormatError(path, f"images[{number}]", f"image id {image_id!r} occurs twice")
        image_ids.add(image_id)
        get_field(path, f"images[{number}]", {"file_name": "", **image}, "file_name", (str,))
    annotation_of: dict[str, int] = {}
    for number, annotation in enumerate(content["annotations"]):
        name = _check_annotation(path, f"annotations[{number}]", annotation, categories)
        if annotation_of.setdefault(name, number) != number:
            problem = f"file_name {name} is that of annotations[{annotation_of[name]}] too; each needs a PNG of its own"
            raise FormatError(path, f"annotations[{number}]", problem)
    return content


def _check_categories(path: Path, content: Mapping[str, Any]) -> set[int]:
    if not content.get("categories"):
        raise FormatError(path, "categories", "must list 'id' and 'isthing'; copy them from the annotation file")
    categories = set()
    for number, category in enumerate(get_list(path, content, "categories")):
        categories.add(get_field(path, f"categories[{number}]", category, "id", (int,)))
        if category.get("isthing") not in (0, 1):
            raise FormatError(path, f"categories[{number}]", "'isthing' must be 0 or 1")
    return categories


def _check_annotation(path: Path, where: str, annotation: object, categories: set[int]) -> str:
    """Check the segments of one PNG; gives its path in the folder."""
    get_field(path, where, annotation, "image_id", (int, str))
    name = get_field(path, where, annotation, "file_name", (str,))
    try:
        inside = resolve_inside(name).as_posix()
    except ValueError as error:
        raise FormatError(path, where, f"file_name {error} ({_png_folder(path)})") from error
    segments: set[int] = set()
    for segment in get_field(path, where, annotation, "segments_info", (list,)):
        segment_id = get_field(path, where, segment, "id", (int,))
        if get_field(path, where, segment, "category_id", (int,)) not in categories:
            problem = f"segment {segment_id} is of category {segment['category_id']}, which is not in 'categories'"
            raise FormatError(path, where, f"{problem}; add it there")
        if segment_id in segments or not VOID < segment_id < _COLOURS:
            problem = f"segment {segment_id} must be an id of 1 to {_COLOURS - 1} that occurs once"
            raise FormatError(path, where, problem)
        segments.add(segment_id)
        if "score" in segment:
            get_score(path, f"{where}, segment {segment_id}", segment)
    return inside


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return _png_folder(path) / entry["png_file"], f"segment {entry['segment']}"


FORMAT: Final = PredictionFormat(
    "panoptic",
    ".json",
    read_panoptic,
    write_panoptic,
    _place,
    png_folder=_png_folder,
    masks_checked=True,
    lists_images=True,
)
