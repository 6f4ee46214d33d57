"""Masks of SAM, a JSON file an image; one file, or a folder of them.

A file is an object with ``image`` and ``annotations``, as in SA-1B; or the list of the automatic mask generator alone,
as SAM's ``amg.py`` writes it, and is then named after its image. Only annotations whose mask changed are written anew;
all else comes back byte for byte.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from bpr.formats.annotations import segmentation_rle
from bpr.formats.coco_annotations import place_of, rewritten
from bpr.formats.entries import ANY_CLASS, Entry, masks_by_file
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.json_arrays import first_item, first_member, rewrite_items
from bpr.formats.json_fields import chosen_files, files_to_write, get_field, get_list, get_score, read_json
from bpr.formats.name_matching import ImageNames, name_from
from bpr.formats.polygons import Losses
from bpr.formats.prediction_format import Content, PredictionFormat, Reading
from bpr.structures import Rle, Size


def is_sam_file(path: Path) -> bool:
    """Whether a JSON file is of one image and its masks, by its members or the fields of its first mask."""
    first = first_item(path)
    if isinstance(first, dict):
        return {"segmentation", "predicted_iou"} <= first.keys() and "image_id" not in first
    found = first_member(path, "image", "images", "shapes", "annotations", "categories")
    return found == "image" or (
        found == "annotations" and first_member(path, "image", "images", "categories") == "image"
    )


def read_sam(path: Path, how: Reading) -> Content:
    """Read a file of the masks of one image, or all in a folder and below it.

    The image is the one in ``how.image_sizes`` that agrees with its ``file_name``, which is relative to the file.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives: ``image_id`` is the name of the image, ``image_suffix``
        that of its file, ``category_id`` 1, ``score`` the ``predicted_iou`` or 1; ``mask_file`` and ``annotation`` are
        where the entry came from. Bad annotations, those of missing images, and bad files in a folder, that
        ``how.faults`` keeps are left out.

    Raises:
        FormatError: If a file is wrong, or belongs to no image or several.
    """
    images, faults = ImageNames(how.image_sizes()), how.faults
    of_files = faults if path.is_dir() else Faults()
    entries: list[Entry] = []
    files = chosen_files(path, is_sam_file, of_files)
    for name, file in files.items():
        content = of_files.attempt(partial(_read_content, file), Reason.mask)
        if content is None:
            continue
        file_name, size, annotations = content
        reads = {number: partial(_mask_of, file, number, a, size) for number, a in enumerate(annotations)}
        masks = faults.each(reads, Reason.field)
        if not masks:
            continue
        locate = partial(images.only, name_from(name, file_name), file, "image")
        image = faults.attempt(locate, Reason.image_missing, masks=len(masks))
        if image is None:
            continue
        for number, mask in masks.items():
            entry = {
                "image_id": image,
                "image_suffix": PureWindowsPath(file_name).suffix,
                "category_id": ANY_CLASS,
                "score": annotations[number].get("predicted_iou", 1.0),
            }
            entries.append({**entry, "segmentation": mask, "mask_file": name, "annotation": number})
    if not files and not faults.found:
        problem = (
            "is no file of SAM, nor a folder of them; they are JSON with an 'image' and its 'annotations', or a list"
        )
        raise FormatError(path, None, problem)
    return Content(entries)


def write_sam(path: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path) -> None:
    """Write the JSON files of ``source`` with the masks of ``entries`` where they are others than before.

    There, ``segmentation`` stays compressed or uncompressed RLE; ``bbox`` and ``area``, where present, follow.
    """
    path, source = Path(path), Path(source)
    for file, target, masks in files_to_write(path, source, masks_by_file(entries, "mask_file", "annotation")):
        _, size, annotations = _read_content(file)
        changed = {}
        for number, mask in masks.items():
            before = _mask_of(file, number, annotations[number], size)
            new = rewritten(annotations[number], before, mask, place_of(number), Losses())
            if new is not None:
                changed[number] = new
        rewrite_items(file, target, "annotations" if size else None, changed)


def _read_content(file: Path) -> tuple[str, Size | None, list[Any]]:
    """Name and, unless the file is a list, size of the image, and annotations as they are."""
    content = read_json(file)
    if isinstance(content, list):
        return file.name, None, content
    image = get_field(file, "image", content, "image", (dict,))
    file_name = get_field(file, "image", image, "file_name", (str,))
    size = get_field(file, "image", image, "height", (int,)), get_field(file, "image", image, "width", (int,))
    return file_name, size, get_list(file, content, "annotations")


def _image_of(file: Path) -> str | None:
    """What a file as of SA-1B names; None if it is another one."""
    with suppress(FormatError):
        return None if first_member(file, "image", "annotations") is None else _read_content(file)[0]
    return None


def _mask_of(file: Path, number: int, annotation: Any, size: Size | None) -> Rle:
    """The mask of an annotation, of which all fields that are used here are checked; without ``size``, of its own."""
    where = place_of(number)
    mask = get_field(file, where, annotation, "segmentation", (dict,))
    get_field(file, where, mask, "counts", (str, list))
    if "predicted_iou" in annotation:
        get_score(file, where, annotation, "predicted_iou")
    return segmentation_rle(file, where, annotation, size or _size_of(file, where, mask))


def _size_of(file: Path, where: str, mask: Mapping[str, Any]) -> Size:
    """(h, w) of an RLE."""
    size = get_field(file, where, mask, "size", (list,))
    if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise FormatError(file, where, f"'size' of the RLE must be [height, width], px, got {size!r:.60}")
    return size[0], size[1]


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return path / entry["mask_file"] if path.is_dir() else path, place_of(entry["annotation"])


FORMAT: Final = PredictionFormat(
    "sam",
    "",
    read_sam,
    write_sam,
    _place,
    masks_checked=True,
    has_classes=False,
    names_images=True,
    image_of=_image_of,
)
