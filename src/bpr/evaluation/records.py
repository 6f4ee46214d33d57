"""Predictions and annotated objects side by side, image by image, checked against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bpr.formats import predictions as any_format
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.name_matching import strip_suffix
from bpr.formats.predictions import Predictions
from bpr.structures import CoarseInstance, ImageRecord


@dataclass(frozen=True, slots=True)
class PredictedImages:
    """The images of a results file with the masks in it, parsed once and kept; ``path`` is for messages."""

    path: Path
    records: Sequence[ImageRecord]


def read_predictions(path: str | Path, annotations: Annotations) -> Predictions:
    """Read predictions in any format, with the ids of ``annotations``.

    Raises:
        FormatError: If a file is wrong.
    """
    names = {strip_suffix(image.file_name) for image in annotations.images.values()}
    return any_format.read_predictions(path, image_names=lambda: names).aligned(annotations)


def predicted_images(results: Predictions, annotations: Annotations) -> PredictedImages:
    """The images that have predictions, each with those in the order of the file; the file is read once.

    Raises:
        FormatError: If it predicts in an image that is not annotated, or a mask does not have the size of its image.
    """
    instances: dict[int | str, list[CoarseInstance]] = {}
    for number, entry in enumerate(results.entries):
        image_id = entry["image_id"]
        if image_id not in annotations.images:
            raise FormatError(*results.place(number, entry), _not_annotated(image_id, annotations))
        rle = results.rle(number, entry, annotations.images[image_id].size)
        instance = CoarseInstance(rle, entry["category_id"], float(entry["score"]), number)
        instances.setdefault(image_id, []).append(instance)
    named = {image_id: annotations.images[image_id] for image_id in instances}
    records = [ImageRecord(i, Path(a.file_name), a.size, tuple(instances[i])) for i, a in named.items()]
    return PredictedImages(results.path, records)


def with_masks(coarse: PredictedImages, refined: Predictions) -> PredictedImages:
    """The same images with the masks of the results file that was made from them; the file is read once.

    Raises:
        FormatError: If a mask does not have the size of its image.
    """
    sizes = {instance.position: record.size for record in coarse.records for instance in record.instances}
    masks = [refined.rle(number, e, sizes[number]) for number, e in enumerate(refined.entries)]
    records = [
        replace(record, instances=tuple(replace(i, rle=masks[i.position]) for i in record.instances))
        for record in coarse.records
    ]
    return PredictedImages(refined.path, records)


def with_truths(images: PredictedImages, annotations: Annotations) -> list[ImageRecord]:
    """All annotated images with their objects and predictions, in the order of the annotation file.

    Raises:
        FormatError: If no object is annotated, or an image with predictions is not.
    """
    if not annotations.has_truths:
        problem = "no object is annotated, so there is nothing to compare with; give a file with ground truth"
        raise FormatError(annotations.path, None, problem)
    predicted = {record.image_id: record for record in images.records}
    for image_id in predicted:
        if image_id not in annotations.images:
            raise FormatError(images.path, None, _not_annotated(image_id, annotations))
    return [
        replace(
            predicted.get(image_id) or ImageRecord(image_id, Path(image.file_name), image.size),
            truths=image.truths,
            coverage=image.coverage,
        )
        for image_id, image in annotations.images.items()
    ]


def read_annotated_predictions(results: str | Path, annotations: str | Path) -> list[ImageRecord]:
    """Read a results file with its ground truth: all annotated images, in the order of the annotation file.

    Raises:
        FormatError: If a file is wrong, no object is annotated, or a prediction is of an image that is not annotated.
    """
    truth = read_annotations(annotations)
    predicted = read_predictions(results, truth)
    truth = predicted.comparable(truth)
    return with_truths(predicted_images(predicted, truth), truth)


def check_same_predictions(refined: PredictedImages, coarse: PredictedImages) -> None:
    """Check that two results files hold the same predictions with other masks, entry by entry.

    Raises:
        FormatError: If they differ in their number of entries, or in an entry's image or class.
    """
    remedy = "compare a refined file with the coarse file that it was made from"
    entries, before = _by_position(refined), _by_position(coarse)
    for number, (ours, theirs) in enumerate(zip(entries, before, strict=False)):
        for name, value, expected in zip(("image_id", "category_id"), ours, theirs, strict=True):
            if value != expected:
                problem = f"{name} is {value!r}, but {expected!r} in {coarse.path}; {remedy}"
                raise FormatError(refined.path, f"entry {number}", problem)
    if len(entries) != len(before):
        problem = f"has {len(entries)} predictions, but {coarse.path} has {len(before)}; {remedy}"
        raise FormatError(refined.path, None, problem)


def _by_position(images: PredictedImages) -> list[tuple[int | str, int]]:
    """Image and class of each prediction, in the order of the results file."""
    found = {i.position: (record.image_id, i.category) for record in images.records for i in record.instances}
    return [found[position] for position in sorted(found)]


def _not_annotated(image_id: int | str, annotations: Annotations) -> str:
    return (
        f"image_id {image_id!r} is not among the {len(annotations.images)} images of {annotations.path} (ids such as "
        f"{next(iter(annotations.images), None)!r}); give the annotation file that the results were made for"
    )
