"""Annotation and result files side by side, checked against each other, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bpr.formats import predictions as any_format
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.image_names import strip_suffix
from bpr.formats.predictions import Predictions
from bpr.structures import CoarseInstance, Federated, Size, TrueInstance


@dataclass(frozen=True, slots=True)
class EvaluatedImage:
    """What was predicted in one image, and what is there.

    Attributes:
        image_id: As in the files.
        size: (h, w), px.
        predicted: In the order of the results file; may be empty.
        truths: In the order of the annotation file; may be empty.
        areas: Of each truth, px^2; decides whether the object is small, medium or large.
        federated: Which classes were looked for, where not all objects are annotated (LVIS).
    """

    image_id: int | str
    size: Size
    predicted: tuple[CoarseInstance, ...]
    truths: tuple[TrueInstance, ...]
    areas: tuple[float, ...]
    federated: Federated | None = None

    def __post_init__(self) -> None:
        if len(self.areas) != len(self.truths):
            raise ValueError(f"image {self.image_id}: {len(self.areas)} areas for {len(self.truths)} objects")


def read_ground_truth(path: str | Path) -> tuple[Annotations, list[EvaluatedImage]]:
    """Read an annotation file as images without predictions, in the order of the file.

    Raises:
        FormatError: If the file is wrong, or no object is annotated.
    """
    annotations = read_annotations(path)
    return annotations, annotated_images(annotations)


def annotated_images(annotations: Annotations) -> list[EvaluatedImage]:
    """The images of an annotation file, without predictions, in its order.

    Raises:
        FormatError: If no object is annotated.
    """
    if not annotations.has_truths:
        problem = "no object is annotated, so there is nothing to compare with; give a file with ground truth"
        raise FormatError(annotations.path, None, problem)
    return [
        EvaluatedImage(image_id, image.size, (), image.truths, image.areas, image.federated)
        for image_id, image in annotations.images.items()
    ]


def read_predictions(path: str | Path, annotations: Annotations) -> Predictions:
    """Read predictions in any format, whose images are all in ``annotations``.

    Raises:
        FormatError: If a file is wrong, or predicts in an image that is not annotated.
    """
    names = {strip_suffix(image.file_name) for image in annotations.images.values()}
    results = any_format.read_predictions(path, image_names=lambda: names).aligned(annotations)
    check_images(results, annotations)
    return results


def read_annotated_predictions(
    results: str | Path, annotations: str | Path
) -> tuple[Annotations, list[EvaluatedImage]]:
    """Read a results file with its ground truth, as images with predictions in the order of the annotation file.

    Raises:
        FormatError: If a file is wrong, no object is annotated, or a prediction is of an image that is not annotated.
    """
    truth = read_annotations(annotations)
    predicted = read_predictions(results, truth)
    truth = predicted.comparable(truth)
    return truth, with_predictions(annotated_images(truth), predicted)


def check_images(results: Predictions, annotations: Annotations) -> None:
    """Check that all images of a results file are in ``annotations``.

    Raises:
        FormatError: If it predicts in an image that is not annotated.
    """
    for number, entry in enumerate(results.entries):
        if entry["image_id"] not in annotations.images:
            problem = (
                f"image_id {entry['image_id']!r} is not among the {len(annotations.images)} images of "
                f"{annotations.path} (ids such as {next(iter(annotations.images))!r}); "
                "give the annotation file that the results were made for"
            )
            raise FormatError(*results.place(number, entry), problem)


def with_predictions(images: Sequence[EvaluatedImage], results: Predictions) -> list[EvaluatedImage]:
    """The same images with the predictions of a results file, each image's in the order of the file.

    Args:
        images: Annotated images; their predictions, if any, are left out.
        results: From `read_predictions`.

    Raises:
        FormatError: If a mask is invalid or does not have the size of its image.
    """
    sizes = {image.image_id: image.size for image in images}
    predicted: dict[int | str, list[CoarseInstance]] = {image_id: [] for image_id in sizes}
    for number, entry in enumerate(results.entries):
        image_id = entry["image_id"]
        rle = results.rle(number, entry, sizes[image_id])
        instance = CoarseInstance(rle, entry["category_id"], float(entry["score"]), number)
        predicted[image_id].append(instance)
    return [replace(image, predicted=tuple(predicted[image.image_id])) for image in images]


def check_same_predictions(
    path: str | Path, entries: Sequence[Entry], coarse_path: str | Path, coarse: Sequence[Entry]
) -> None:
    """Check that two results files hold the same predictions with other masks, entry by entry.

    Raises:
        FormatError: If they differ in their number of entries, or in an entry's image or class.
    """
    path, remedy = Path(path), "compare a refined file with the coarse file that it was made from"
    for number, (entry, before) in enumerate(zip(entries, coarse, strict=False)):
        for name in ("image_id", "category_id"):
            if entry[name] != before[name]:
                problem = f"{name} is {entry[name]!r}, but {before[name]!r} in {coarse_path}; {remedy}"
                raise FormatError(path, f"entry {number}", problem)
    if len(entries) != len(coarse):
        problem = f"has {len(entries)} predictions, but {coarse_path} has {len(coarse)}; {remedy}"
        raise FormatError(path, None, problem)
