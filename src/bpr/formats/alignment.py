"""Predictions with the image and class ids of annotations, which are found by names."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path, PureWindowsPath

from bpr.cli.command import counted
from bpr.formats import cityscapes
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry
from bpr.formats.name_matching import ImageNames, strip_suffix
from bpr.formats.prediction_format import Listed, PredictionFormat


def align_named(entries: Sequence[Entry], form: PredictionFormat, annotations: Annotations) -> list[Entry]:
    """The entries of a format that has no ids of its own (`PredictionFormat.names_images`) with those of annotations.

    An image is found by its name (`ImageNames`), for Cityscapes also without ``_leftImg8bit``, a class by its name,
    else in another case. Predictions without classes, or of one class without a name, get that of the annotations if
    there is only one. A class that they do not name gets an id that they do not use. An image that cannot be found, or
    fits several, is left as it is, for `bpr.data.image_records.refinement_records` to report.
    """
    only = annotations.only_class
    by_name: dict[str, list[int | str]] = defaultdict(list)
    for image_id, image in annotations.images.items():
        by_name[_image_name(image.file_name)].append(image_id)
    names, ids = ImageNames(by_name), {name: category for category, name in annotations.categories.items()}
    folded = {_folded(name): category for name, category in ids.items()}
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
            category = ids.get(name, folded.get(_folded(name), free + category))
        elif only is not None:
            category = only
        aligned.append({**entry, "image_id": image_id, "category_id": category})
    return aligned


def align_listed(
    entries: Sequence[Entry], listed: Listed, path: Path, annotations: Annotations
) -> tuple[list[Entry], list[str]]:
    """The entries of a file that lists images and classes by ids of its own (`PredictionFormat.lists_images`).

    Two such files may give the same image, or class, other ids. So names decide, as far as both files have them: an
    image gets the id of the one that its name fits, a class that of the one with its name, else with its name in
    another case. An id alone is taken for that of the annotations where no name fits: of images, as long as no name
    shows that the ids are others there; of classes, unless it is there that of another class of this file, so that it
    gets an id of its own. Of several images that one image of the annotations fits, only that with its id is it.

    Args:
        entries: All of the file.
        listed: Names of its images and classes, of all that it lists.
        path: Of the file, in the ids of images that are none of the annotations: ``3 (a.jpg) of labels.json``.
        annotations: The ids that entries get.

    Returns:
        The entries, and remarks, a line each, on images and classes that have other names in the annotations.
    """
    without_name: dict[int | str, str | None] = {entry["image_id"]: None for entry in entries}
    images, notes = _aligned_images({**without_name, **listed.images}, path, annotations)
    used = {entry["category_id"] for entry in entries if entry["category_id"] is not None}
    ids, renamed = _aligned_classes(listed.classes, used.difference(listed.classes), annotations)
    aligned = [
        {**e, "image_id": images[e["image_id"]], "category_id": ids.get(e["category_id"], e["category_id"])}
        for e in entries
    ]
    return aligned, notes + renamed


def _aligned_images(
    listed: Mapping[int | str, str | None], path: Path, annotations: Annotations
) -> tuple[dict[int | str, int | str], list[str]]:
    """The ids of images, by their ids in the file, which has names of them or None."""
    own = {number: annotations.id_of(number) for number in listed}
    fitting = {number: annotations.ids_named(name) for number, name in listed.items() if name is not None}
    found: dict[int | str, int | str] = {}
    claims: dict[int | str, list[int | str]] = defaultdict(list)
    for number, fit in fitting.items():
        if own[number] in fit or len(fit) == 1:
            found[number] = own[number] if own[number] in fit else fit[0]
            claims[found[number]].append(number)
    foreign = any(image_id != own[number] for number, image_id in found.items())
    renamed: dict[str, str] = {}
    for number, name in listed.items():
        if number in found:
            refused = len(claims[found[number]]) > 1 and found[number] != own[number]
        else:
            refused = foreign or bool(fitting.get(number))
            found[number] = own[number]
            if name is not None and not refused and own[number] in annotations.images:
                renamed[name] = annotations.images[own[number]].file_name
        if refused:
            shown = "" if name is None else f" ({PureWindowsPath(name).name})"
            found[number] = f"{number}{shown} of {path.name}"
    return found, _remark("image", renamed)


def _aligned_classes(
    classes: Mapping[int, str], unnamed: Set[int], annotations: Annotations
) -> tuple[dict[int, int], list[str]]:
    """The ids of classes, by their ids in the file, which has names of some."""
    theirs = annotations.categories
    if all(name == str(number) for number, name in theirs.items()):
        theirs = {}  # the ids stand for names that are missing
    exact = {name: number for number, name in theirs.items()}
    folded = {_folded(name): number for number, name in theirs.items()}
    ours = {_folded(name) for name in classes.values()}
    free = 1 + max(abs(number) for number in {0, *classes, *unnamed, *annotations.categories})
    found: dict[int, int] = {}
    renamed = dict[str, str]()
    for number in (*classes, *unnamed):
        name, there = classes.get(number), theirs.get(number)
        same = None if name is None else _class_named(number, name, theirs, exact, folded)
        if same is not None:
            found[number] = same
        elif there is not None and _folded(there) in ours:
            found[number] = free + abs(number)
        elif there is not None and name is not None:
            renamed[name] = there
    return found, _remark("class", renamed, "classes")


def _class_named(
    number: int, name: str, theirs: Mapping[int, str], exact: Mapping[str, int], folded: Mapping[str, int]
) -> int | None:
    """The id of the class with a name, which annotations may have twice: ``number`` first; else in another case."""
    there = theirs.get(number)
    if name == there:
        return number
    if name in exact:
        return exact[name]
    return number if there is not None and _folded(there) == _folded(name) else folded.get(_folded(name))


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
