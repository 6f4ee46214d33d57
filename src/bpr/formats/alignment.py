"""Predictions with the image and class ids of annotations, which are found by names."""

from collections import defaultdict
from collections.abc import Sequence

from bpr.cli.command import counted
from bpr.formats import cityscapes
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry
from bpr.formats.name_matching import ImageNames, strip_suffix
from bpr.formats.prediction_format import PredictionFormat


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


def align_listed(entries: Sequence[Entry], annotations: Annotations) -> tuple[list[Entry], list[str]]:
    """The entries of a format that lists images and classes by ids of its own (`PredictionFormat.lists_images`).

    Two such files may give the same image, or class, other ids. So names decide, as far as both files have them: an
    image gets the id of the one that its ``file_name`` fits, a class that of the one with its ``class_name``. Where no
    name fits, an id is taken for that of the annotations, but for a class whose id has there the name of another class
    of these entries: it gets an id that the annotations do not use.

    Returns:
        The entries, and remarks, a line each, on images that have other names in the annotations.
    """
    ids = {name: category for category, name in annotations.categories.items()}
    ours = {entry["class_name"] for entry in entries if "class_name" in entry}
    free = max(ids.values(), default=-1) + 1
    aligned, renamed = [], dict[str, str]()
    for entry in entries:
        image_id, category = annotations.id_of(entry["image_id"]), entry["category_id"]
        file_name, name = entry.get("file_name"), entry.get("class_name")
        if file_name is not None:
            fitting = annotations.ids_named(file_name)
            if len(fitting) == 1:
                image_id = fitting[0]
            elif not fitting and image_id in annotations.images:
                renamed[file_name] = annotations.images[image_id].file_name
        annotated_as = annotations.categories.get(category)
        if name is not None and name != annotated_as:
            category = ids.get(name, free + category if annotated_as in ours else category)
        aligned.append({**entry, "image_id": image_id, "category_id": category})
    if not renamed:
        return aligned, []
    example, there = next(iter(renamed.items()))
    images = counted(len(renamed), "image")
    return aligned, [f"{images} of other names in the annotations, taken by id (such as {example}, there {there})"]


def _image_name(file_name: str) -> str:
    return strip_suffix(file_name).removesuffix(cityscapes.IMAGE_SUFFIX.removesuffix(".png"))
