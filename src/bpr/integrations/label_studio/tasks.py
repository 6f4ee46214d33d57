"""What of a task is refined, and the refined result of one."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from bpr.data.images import image_sizes, read_image
from bpr.formats.errors import FormatError
from bpr.integrations.label_studio.errors import TaskError
from bpr.integrations.label_studio.images import ImageSource
from bpr.integrations.label_studio.regions import MOST_PIXELS, Entry, decode, encode, has_mask
from bpr.structures import ExifUse, Image, Rle, Size

RefineMasks = Callable[[Image, Sequence[Rle]], Sequence[Rle]]
"""(h, w, 3) uint8 RGB and masks of it -> the refined masks, such as `bpr.api.refiner.Refiner`."""
_HUMAN: Final = ("drafts", "annotations")


@dataclass
class Refined:
    """The result of a task after refining.

    Attributes:
        result: All entries that were given, in their order; ids, names, labels and all else but geometries are theirs.
        changed: Number of masks that were refined to others.
        kept: Why masks are as they came, and how many of them.
    """

    result: list[Any]
    changed: int = 0
    kept: Counter[str] = field(default_factory=Counter)


def given_result(task: Mapping[str, Any], context: Any, own_version: str) -> list[Any]:
    """The regions of a task that are to be refined.

    These are the ones just drawn, in ``context`` of an interactive request; else those of the newest draft or
    annotation that was not cancelled; else those of the newest prediction that is not of ``own_version``; else none.
    """
    if isinstance(context, Mapping) and context.get("result"):
        return _list(context["result"], "context.result")
    human = [one for name in _HUMAN for one in _list(task.get(name) or [], name) if _has_result(one)]
    drawn = [one for one in human if not one.get("was_cancelled")]
    others = [one for one in _list(task.get("predictions") or [], "predictions") if _has_result(one)]
    chosen = drawn or [one for one in others if one.get("model_version") != own_version]
    return _list(max(chosen, key=_time)["result"], "result") if chosen else []


def image_fields(label_config: object) -> dict[str, str]:
    """For each image tag of a labelling configuration its name, and the field of the tasks' data that it shows."""
    try:
        text = label_config if isinstance(label_config, str) else ""
        tags = ElementTree.fromstring(text).iter()  # noqa: S314  # expat bounds entities and loads none from elsewhere
    except ElementTree.ParseError as error:
        raise TaskError(f"the request has no labelling configuration ('label_config'): {error}") from error
    return {tag.get("name", ""): tag.get("value", "").removeprefix("$") for tag in tags if tag.tag == "Image"}


def refine_task(
    task: Mapping[str, Any],
    result: Sequence[Any],
    fields: Mapping[str, str],
    source: ImageSource,
    refine: RefineMasks,
    tolerance: float = 0.0,
) -> Refined:
    """Refine all brushes and polygons of a result; bad ones, and entries of other kinds, are kept as they came.

    Args:
        task: ``id`` and ``data``, as Label Studio sends them.
        result: As of `given_result`.
        fields: As of `image_fields`.
        source: Where the images are.
        refine: Refines the masks of one image.
        tolerance: As of `bpr.integrations.label_studio.regions.encode`.

    Raises:
        TaskError: If an image cannot be had, or the task is none.
    """
    refined = Refined(list(result))
    by_tag = defaultdict(list)
    for number, entry in enumerate(result):
        if has_mask(entry):
            by_tag[str(entry.get("to_name"))].append(number)
    for tag, numbers in by_tag.items():
        if tag not in fields:
            refined.kept[f"is on {tag!r}, which is no image of the labelling configuration"] += len(numbers)
            continue
        data = task.get("data")
        reference = data.get(fields[tag]) if isinstance(data, Mapping) else None
        with source.fetch(reference, task.get("id")) as path:
            _refine_entries(refined, numbers, _read(path, reference), refine, tolerance)
    return refined


def _refine_entries(
    refined: Refined, numbers: Sequence[int], image: Image, refine: RefineMasks, tolerance: float
) -> None:
    """Refine some entries of a result in place; several of the same region, such as its labels, share a mask."""
    size: Size = (image.shape[0], image.shape[1])
    masks: dict[str, Rle] = {}
    sharing = defaultdict(list)
    for number in numbers:
        entry: Entry = refined.result[number]
        shape = json.dumps([entry["value"].get(name) for name in ("rle", "points")])
        try:
            masks.setdefault(shape, decode(entry, size))
        except ValueError as error:
            refined.kept[str(error)] += 1
            continue
        sharing[shape].append(number)
    after = refine(image, list(masks.values())) if masks else []
    for (shape, mask), new in zip(masks.items(), after, strict=True):
        for number in sharing[shape] if new != mask else ():
            refined.result[number] = encode(refined.result[number], new, tolerance)
        refined.changed += new != mask


def _read(path: Path, reference: object) -> Image:
    """The pixels as browsers show them: turned as EXIF says."""
    try:
        _, size = image_sizes(path)
        if size[0] * size[1] > MOST_PIXELS:
            raise TaskError(f"{reference}: is {size} (h, w); images of more than {MOST_PIXELS} pixels are not read")
        return read_image(path, size, ExifUse.apply)
    except FormatError as error:
        raise TaskError(f"{reference}: {error.problem}") from error


def _has_result(one: Any) -> bool:
    return isinstance(one, Mapping) and bool(one.get("result"))


def _time(one: Mapping[str, Any]) -> str:
    return str(one.get("updated_at") or one.get("created_at") or "")


def _list(given: Any, name: str) -> list[Any]:
    if not isinstance(given, list):
        raise TaskError(f"'{name}' must be a list, got {type(given).__name__}")
    return given
