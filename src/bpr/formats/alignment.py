"""Predictions with the image and class ids of annotations, which are found by names."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bpr.cli.command import counted
from bpr.formats import cityscapes
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry
from bpr.formats.name_matching import ImageNames, strip_suffix
from bpr.formats.prediction_format import PredictionFormat

_Listed = tuple[int | str, str | None]
"""Id and name of an image in a file that lists images."""


def align_named(entries: Sequence[Entry], form: PredictionFormat, annotations: Annotations) -> list[Entry]:
    """The entries of a format that has no ids of its own (`PredictionFormat.names_images`) with those of annotations.

    An image is found by its name (`ImageNames`), for Cityscapes also without ``_leftImg8bit``, a class by its name.
    Predictions without classes, or of one class without a name, get that of the annotations if there is only one.
    A class that they do not name gets an id that they do not use. An image that cannot be found, or fits several,
    is left as it is, for `bpr.data.image_records.refinement_records` to report.
    """
    only = annotations.only_class
    by_name: dict[str, list[int | str]] = defaultdict(list)
    for image_id, image in annotations.images.items():
        by_name[_image_name(image.file_name)].append(image_id)
    names, ids = ImageNames(by_name), {name: category for category, name in annotations.categories.items()}
    free = max(ids.values(), default=-1) + 1
    if form.has_classes and len({entry["category_id"] for entry in entries}) != 1:
        only = None
    aligned = []
    for entry in entries:
        image_id, category = entry["image_id"], entry["category_id"]
        agreeing = [] if image_id in annotations.images else names.find(image_id)
        found = [one for name in agreeing for one in by_name[name]]
        if len(found) == 1:
            image_id = found[0]
        name = entry.get("class_name", form.class_names.get(category))
        if name is not None:
            category = ids.get(name, free + category)
        elif only is not None:
            category = only
        aligned.append({**entry, "image_id": image_id, "category_id": category})
    return aligned


def align_listed(
    entries: Sequence[Entry], classes: Mapping[int, str], path: Path, annotations: Annotations
) -> tuple[list[Entry], list[str]]:
    """The entries of a file that lists images and classes by ids of its own (`PredictionFormat.lists_images`).

    Two such files may give the same image, or class, other ids. So names decide, as far as both files have them: an
    image gets the id of the one that its ``file_name`` fits, a class that of the one with its name. An id alone is
    taken for that of the annotations where no name fits: of images, as long as no name shows that the ids are others
    there; of classes, unless it is there that of another class of this file, so that it gets an id of its own.

    Args:
        entries: All of the file.
        classes: Names of its classes by their ids, of all that it lists.
        path: Of the file, in the ids of images that are none of the annotations: ``3 of labels.json``.
        annotations: The ids that entries get.

    Returns:
        The entries, and remarks, a line each, on images and classes that have other names in the annotations.
    """
    images, notes = _aligned_images({(e["image_id"], e.get("file_name")): None for e in entries}, path, annotations)
    ids, renamed = _aligned_classes(classes, annotations)
    aligned = [
        {
            **entry,
            "image_id": images[entry["image_id"], entry.get("file_name")],
            "category_id": ids.get(entry["category_id"], entry["category_id"]),
        }
        for entry in entries
    ]
    return aligned, notes + renamed


def _aligned_images(
    named: Iterable[_Listed], path: Path, annotations: Annotations
) -> tuple[dict[_Listed, int | str], list[str]]:
    """The ids of images that are listed by id and name."""
    found: dict[_Listed, int | str] = {}
    claims: dict[int | str, set[str]] = defaultdict(set)
    foreign = False
    rest, renamed = list[_Listed](), dict[str, str]()
    for image in named:
        own, name = annotations.id_of(image[0]), image[1]
        fitting = [] if name is None else annotations.ids_named(name)
        if name is not None and (len(fitting) == 1 or own in fitting):
            found[image] = own if own in fitting else fitting[0]
            claims[found[image]].add(name)
            foreign |= found[image] != own
        else:
            rest.append(image)
    for image, image_id in found.items():
        if len(claims[image_id]) > 1 and image[1] != annotations.images[image_id].file_name:
            found[image] = f"{image[0]} of {path.name}"
    for image in rest:
        own, name = annotations.id_of(image[0]), image[1]
        ambiguous = name is not None and bool(annotations.ids_named(name))
        found[image] = f"{image[0]} of {path.name}" if foreign or ambiguous else own
        if name is not None and found[image] in annotations.images:
            renamed[name] = annotations.images[own].file_name
    return found, _remark("image", renamed)


def _aligned_classes(classes: Mapping[int, str], annotations: Annotations) -> tuple[dict[int, int], list[str]]:
    """The ids of classes that are listed by id and name."""
    # one without a name has its id for it
    theirs = {number: name for number, name in annotations.categories.items() if name != str(number)}
    exact = {name: number for number, name in theirs.items()}
    folded = {_folded(name): number for number, name in theirs.items()}
    ours = {_folded(name) for name in classes.values()}
    free = max([*classes, *annotations.categories], default=-1) + 1
    found: dict[int, int] = {}
    renamed = dict[str, str]()
    for number, name in classes.items():
        there = theirs.get(number)
        if there == name:
            continue  # also where annotations have the name twice
        if name in exact:
            found[number] = exact[name]
        elif there is not None and _folded(there) == _folded(name):
            continue
        elif _folded(name) in folded:
            found[number] = folded[_folded(name)]
        elif there is not None and _folded(there) in ours:
            found[number] = free + number
        elif there is not None:
            renamed[name] = there
    return found, _remark("class", renamed, "classes")


def _folded(name: str) -> str:
    return name.strip().casefold()


def _remark(one: str, renamed: Mapping[str, str], many: str = "") -> list[str]:
    if not renamed:
        return []
    ours, theirs = next(iter(renamed.items()))
    things = counted(len(renamed), one, many)
    return [f"{things} of other names in the annotations, taken by id (such as {ours}, there {theirs})"]


def _image_name(file_name: str) -> str:
    return strip_suffix(file_name).removesuffix(cityscapes.IMAGE_SUFFIX.removesuffix(".png"))
