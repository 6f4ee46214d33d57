"""labelme files: JSON with ``shapes`` of one image; one file, or a folder of them.

Polygons and masks are refined. Only shapes whose mask changed are written anew; all else comes back byte for byte.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from bpr.formats.entries import Entry, masks_by_file
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Faults
from bpr.formats.json_arrays import first_member, rewrite_items
from bpr.formats.json_fields import chosen_files, files_to_write, get_field, get_list, read_json
from bpr.formats.labelme_shapes import REFINED, draw, place_of, rewritten
from bpr.formats.name_matching import ImageNames, name_from
from bpr.formats.polygons import Losses
from bpr.formats.prediction_format import Content, ImageSizes, PredictionFormat, Reading
from bpr.structures import Size


def is_labelme_file(path: Path) -> bool:
    """Whether a JSON file is one of labelme, by its members."""
    return first_member(path, "shapes", "imagePath", "image", "images", "annotations") in ("shapes", "imagePath")


def read_labelme(path: Path, how: Reading) -> Content:
    """Read the polygons and masks of a labelme file, or of all in a folder and below it.

    The image is the one in ``how.image_sizes`` that agrees with ``imagePath``, which is relative to the file.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives: ``image_id`` is the name of the image, ``image_suffix``
        that of ``imagePath``, ``class_name`` the label, ``category_id`` its number in the order in which labels first
        occur, from 1 on, ``score`` 1; ``label_file`` and ``shape`` are where the entry came from. Other shapes are left
        out, and counted in a note; left out are also bad shapes, shapes of missing or damaged images, and bad files in
        a folder that ``how.faults`` keeps.

    Raises:
        FormatError: If a file is wrong, or belongs to no image or several.
    """
    image_sizes, faults = how.image_sizes(), how.faults
    images = ImageNames(image_sizes)
    of_files = faults if path.is_dir() else Faults()
    labels: dict[str, int] = {}
    entries: list[Entry] = []
    left = Counter[str]()
    files = chosen_files(path, is_labelme_file, of_files)
    for name, file in files.items():
        content = of_files.attempt(partial(_read_content, file), Reason.mask)
        if content is None:
            continue
        checks = {number: partial(_checked, file, number, shape) for number, shape in enumerate(content["shapes"])}
        shapes = faults.each(checks, Reason.field)
        left.update(kind for kind in map(_kind, shapes.values()) if kind not in REFINED)
        draws = {n: partial(draw, file, n, shape) for n, shape in shapes.items() if _kind(shape) in REFINED}
        find = partial(images.only, name_from(name, content["imagePath"]), file, "imagePath")
        image, masks = faults.drawn(find, partial(_size, image_sizes, file, content), draws)
        for number, mask in masks.items():
            label = shapes[number]["label"]
            category = {"category_id": labels.setdefault(label, len(labels) + 1), "class_name": label}
            entry = {"image_id": image, **category, "score": 1.0, "segmentation": mask}
            named = {"image_suffix": PureWindowsPath(content["imagePath"]).suffix}
            entries.append({**entry, **named, "label_file": name, "shape": number})
    if not files and not faults.found:
        raise FormatError(path, None, "is no labelme file, nor a folder of them; they are JSON with 'shapes'")
    counts = ", ".join(f"{count} x {kind}" for kind, count in left.items())
    return Content(entries, (f"left as they are: {counts}",) if left else ())


def write_labelme(
    path: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path, tolerance: float = 0.0
) -> tuple[str, ...]:
    """Write the JSON files of ``source`` with the masks of ``entries`` where they are others than before.

    There, a polygon is one for all parts of the mask (`bpr.formats.polygons.trace_joined`), which it may leave by
    ``tolerance`` px, and ``points`` and ``mask`` of a shape that is a mask follow.

    Returns:
        Notes on holes that were filled, and on the IoU between masks and the polygons that were written for them.
    """
    path, source = Path(path), Path(source)
    losses = Losses()
    for file, target, masks in files_to_write(path, source, masks_by_file(entries, "label_file", "shape")):
        shapes = _read_content(file)["shapes"]
        new = {n: rewritten(file, n, shapes[n], mask, tolerance, losses) for n, mask in masks.items()}
        rewrite_items(file, target, "shapes", {n: shape for n, shape in new.items() if shape is not shapes[n]})
    return losses.notes()


def _read_content(file: Path) -> dict[str, Any]:
    """The file, in which all fields that are used here but those of shapes have been checked."""
    content: dict[str, Any] = read_json(file)
    get_field(file, "imagePath", content, "imagePath", (str,))
    return {**content, "shapes": get_list(file, content, "shapes")}


def _image_of(file: Path) -> str | None:
    """What a file names; None if it is none of labelme."""
    with suppress(FormatError):
        return str(_read_content(file)["imagePath"]) if is_labelme_file(file) else None
    return None


def _checked(file: Path, number: int, shape: Any) -> dict[str, Any]:
    """A shape in which all fields that are used here but points and mask are right."""
    get_field(file, place_of(number), shape, "label", (str,))
    get_field(file, place_of(number), shape, "points", (list,))
    if shape.get("shape_type") is not None:
        get_field(file, place_of(number), shape, "shape_type", (str,))
    return dict(shape)


def _kind(shape: Mapping[str, Any]) -> str:
    return shape.get("shape_type") or "polygon"


def _size(sizes: ImageSizes, file: Path, content: Mapping[str, Any], image: str) -> Size:
    """(h, w) of the image, which the file has or that of the image; `FormatError` if there is no such image."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if not isinstance(height, int) or not isinstance(width, int):
        return sizes[image]
    if height < 1 or width < 1:
        problem = f"imageHeight and imageWidth must be at least 1 px, got {height} and {width}"
        raise FormatError(file, None, f"{problem}; take them out to have the size of the image")
    return height, width


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str]:
    return path / entry["label_file"] if path.is_dir() else path, place_of(entry["shape"])


FORMAT: Final = PredictionFormat(
    "labelme",
    "",
    read_labelme,
    write_labelme,
    _place,
    masks_checked=True,
    has_polygons=True,
    names_images=True,
    image_of=_image_of,
)
