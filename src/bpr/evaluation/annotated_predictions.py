"""Predictions and annotated objects side by side, image by image, checked against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions, read_aligned
from bpr.structures import ImageRecord


@dataclass(frozen=True, slots=True)
class PredictedImages:
    """The images of a results file with the masks in it, parsed once and kept; ``path`` is for messages."""

    path: Path
    records: Sequence[ImageRecord]


def predicted_images(results: Predictions, annotations: Annotations) -> PredictedImages:
    """The images that have predictions, with these; errors are those of `Predictions.by_image`."""
    records = []
    for image_id, instances in results.by_image(annotations).items():
        image = annotations.images[image_id]
        records.append(ImageRecord(image_id, Path(image.file_name), image.size, tuple(instances)))
    return PredictedImages(results.path, records)


def with_masks(coarse: PredictedImages, refined: Predictions) -> PredictedImages:
    """The same images with the masks of the results file that was made from them; errors as of `Predictions.rle`.

    Entries that are in none of the images are passed over.
    """
    sizes = {instance.position: record.size for record in coarse.records for instance in record.instances}
    masks = {n: refined.rle(n, entry, sizes[n]) for n, entry in enumerate(refined.entries) if n in sizes}
    records = [
        replace(record, instances=tuple(replace(i, rle=masks[i.position]) for i in record.instances))
        for record in coarse.records
    ]
    return PredictedImages(refined.path, records)


def with_truths(images: PredictedImages, annotations: Annotations) -> list[ImageRecord]:
    """All annotated images with their objects and predictions, in the order of the annotation file.

    `FormatError` if no object is annotated, or an image with predictions is not.
    """
    if not annotations.has_truths:
        problem = "no object is annotated, so there is nothing to compare with; give a file with ground truth"
        raise FormatError(annotations.path, None, problem)
    predicted = {record.image_id: record for record in images.records}
    for image_id in predicted:
        annotations.image(image_id, images.path, None)
    return [
        replace(
            predicted.get(image_id) or ImageRecord(image_id, Path(image.file_name), image.size),
            truths=image.truths,
            coverage=image.coverage,
        )
        for image_id, image in annotations.images.items()
    ]


def read_annotated_predictions(results: str | Path, annotations: str | Path) -> list[ImageRecord]:
    """Read a results file with its ground truth: all annotated images, as `with_truths` joins them."""
    truth = read_annotations(annotations)
    predicted = read_aligned(results, truth)
    truth = predicted.comparable(truth)
    return with_truths(predicted_images(predicted, truth), truth)


def check_same_predictions(refined: PredictedImages, coarse: PredictedImages) -> None:
    """Check that two results files hold the same predictions with other masks, entry by entry; else `FormatError`."""
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
