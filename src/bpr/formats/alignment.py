"""Predictions that name images and classes by text, brought to the ids of an annotation file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from bpr.formats import cityscapes
from bpr.formats.coco import Annotations
from bpr.formats.entries import Entry

ANY_CLASS: Final = 1
"""Class of masks in files, as `bpr.formats.mask_images` reads them."""


def aligned(entries: Sequence[Entry], annotations: Annotations) -> Sequence[Entry]:
    """The entries with the image and class ids of ``annotations``.

    Only entries of Cityscapes and mask folders are changed, which know images by name. An image is found by
    the name of its file without folder and suffix (for Cityscapes, also without ``_leftImg8bit``), a Cityscapes
    class by its name. Masks in files have no class: they get that of the annotations if there is only one. What
    cannot be found is left as it is, for `bpr.data.records.refinement_records` to report.

    Args:
        entries: From any reader of `bpr.formats.predictions`.
        annotations: Whose ids are meant.
    """
    if not entries or "mask_file" not in entries[0]:
        return entries
    stems = {_stem(image.file_name): image_id for image_id, image in annotations.images.items()}
    by_name = {name: category for category, name in annotations.categories.items()}
    only = next(iter(annotations.categories)) if len(annotations.categories) == 1 else None
    result = []
    for entry in entries:
        image_id = entry["image_id"]
        if image_id not in annotations.images:
            image_id = stems.get(image_id, image_id)
        category = entry["category_id"]
        if "prediction_file" in entry:
            category = by_name.get(cityscapes.LABELS[category], category)
        elif only is not None:
            category = only
        result.append({**entry, "image_id": image_id, "category_id": category})
    return result


def comparable(annotations: Annotations, entries: Sequence[Entry]) -> Annotations:
    """The annotations with one class for all objects, if the entries are masks in files, which have no class.

    Args:
        annotations: As they were read.
        entries: From any reader of `bpr.formats.predictions`.
    """
    without_class = bool(entries) and "mask_file" in entries[0] and "prediction_file" not in entries[0]
    if not without_class or len(annotations.categories) == 1:
        return annotations
    images = {
        image_id: replace(image, truths=tuple(replace(truth, category=ANY_CLASS) for truth in image.truths))
        for image_id, image in annotations.images.items()
    }
    return replace(annotations, images=images, categories={ANY_CLASS: "any class"})


def _stem(file_name: str) -> str:
    return PurePosixPath(file_name).stem.removesuffix(cityscapes.IMAGE_SUFFIX.removesuffix(".png"))
