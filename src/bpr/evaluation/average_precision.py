"""AP and Boundary AP of instance masks, as COCO defines them; the only importer of `faster_coco_eval`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.structures import ImageRecord

_log = logging.getLogger(__name__)
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_IOU_50, _IOU_75 = 0, 5
_LVIS_PREDICTIONS: Final = 300


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """AP of one set of predictions, in [0, 1]; None where no object counts.

    Attributes:
        ap: Mean over the classes that have an object, and over IoU 0.50, 0.55, ..., 0.95.
        ap50: At IoU 0.50.
        ap75: At IoU 0.75.
        small: As ``ap``, of objects up to 32^2 px^2.
        medium: From 32^2 to 96^2 px^2.
        large: From 96^2 px^2 on.
        per_class: ``ap`` by category id, of the classes that have an object which is no crowd.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    per_class: dict[int, float]


def average_precision(images: Sequence[ImageRecord]) -> AveragePrecision:
    """AP by mask IoU over all ``images``, at least one, also those without predictions.

    As COCO's, with at most the 100 best predictions of a class in an image. A prediction is as small or large
    as its mask, not as its box (pycocotools takes the box where a result has one): a refined mask is then
    judged by itself. Predictions of classes without any object do not count.

    For images that are not exhaustively annotated (LVIS) its rules hold: predictions of classes that were not checked
    do not count, unmatched ones of classes that are not annotated exhaustively neither, and an image has at most its
    300 best predictions.
    """
    return _average_precision(images, "segm", {})


def boundary_average_precision(images: Sequence[ImageRecord], dilation_ratio: float = 0.02) -> AveragePrecision:
    """As `average_precision`, with the lesser of mask IoU and boundary IoU (Cheng et al., CVPR 2021).

    The boundary region of a mask is what ``d`` erosions by 3x3 take from it, beyond the image being
    background; ``d`` is ``dilation_ratio`` times the image diagonal, rounded, at least 1 px.

    ``dilation_ratio`` is 0.02 for COCO, 0.005 for Cityscapes. `ValueError` if it is not in (0, 1), or no image.
    """
    if not 0 < dilation_ratio < 1:
        raise ValueError(f"dilation_ratio must be in (0, 1), got {dilation_ratio}")
    return _average_precision(images, "boundary", {"boundary_dilation_ratio": dilation_ratio})


def _average_precision(images: Sequence[ImageRecord], kind: str, options: dict[str, float]) -> AveragePrecision:
    if not images:
        raise ValueError("average precision needs at least one image")
    lvis = any(image.coverage is not None for image in images)
    true, predicted = _datasets([_keep_best(image) for image in images] if lvis else images)
    datasets = (COCO(dataset, print_function=_log.debug) for dataset in (true, predicted))
    how = {"print_function": _log.debug, "rle_iou_max_workers": 1, "lvis_style": lvis, **options}
    evaluator = COCOeval_faster(*datasets, kind, **how)
    if lvis:
        evaluator.params.maxDets = [_LVIS_PREDICTIONS]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"])[..., -1]  # IoU, recall, class, size of object
    of_classes = {c["id"]: _mean(precision[:, :, number, _ALL]) for number, c in enumerate(true["categories"])}
    return AveragePrecision(
        ap=_mean(precision[..., _ALL]),
        ap50=_mean(precision[_IOU_50, ..., _ALL]),
        ap75=_mean(precision[_IOU_75, ..., _ALL]),
        small=_mean(precision[..., _SMALL]),
        medium=_mean(precision[..., _MEDIUM]),
        large=_mean(precision[..., _LARGE]),
        per_class={category: ap for category, ap in of_classes.items() if ap is not None},
    )


def _keep_best(image: ImageRecord) -> ImageRecord:
    """The image with its best predictions, as many as LVIS allows, of classes that were checked in it.

    The library leaves out the others itself, but fails on them in Boundary AP.
    """
    best = sorted(image.instances, key=lambda instance: -instance.score)[:_LVIS_PREDICTIONS]
    if image.coverage is not None:
        checked = image.coverage.negative | {truth.category for truth in image.truths}
        best = [instance for instance in best if instance.category in checked]
    return replace(image, instances=tuple(sorted(best, key=lambda instance: instance.position)))


def _mean(precision: NDArray[np.float64]) -> float | None:
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else None


def _datasets(images: Sequence[ImageRecord]) -> tuple[dict[str, Any], dict[str, Any]]:
    """COCO datasets of the objects and of the predictions.

    Images are numbered in the order of their ids, since predictions of equal score are ranked by it; objects
    and predictions from 1, since the library takes 0 for "none".
    """
    ordered = sorted(images, key=lambda image: (isinstance(image.image_id, str), image.image_id))
    numbered = list(enumerate(ordered, start=1))
    listed = [
        {"id": number, "height": image.size[0], "width": image.size[1], **_checked_classes(image)}
        for number, image in numbered
    ]
    # LVIS also groups classes by frequency, unused here, but required by faster-coco-eval.
    categories = [
        {"id": c, "frequency": "f"} for c in sorted({truth.category for image in images for truth in image.truths})
    ]
    objects = [
        {
            "image_id": n,
            "category_id": t.category,
            "segmentation": t.rle,
            "iscrowd": int(t.crowd),
            "area": float(rle_codec.area(t.rle)) if t.area is None else t.area,
        }
        for n, image in numbered
        for t in image.truths
    ]
    predictions = [
        {"image_id": n, "category_id": p.category, "segmentation": p.rle, "iscrowd": 0, "score": p.score}
        | {"area": float(rle_codec.area(p.rle))}
        for n, image in numbered
        for p in image.instances
    ]
    shared = {"images": listed, "categories": categories}
    true, predicted = (
        {**shared, "annotations": [{**entry, "id": number} for number, entry in enumerate(entries, start=1)]}
        for entries in (objects, predictions)
    )
    return true, predicted


def _checked_classes(image: ImageRecord) -> dict[str, list[int]]:
    if image.coverage is None:
        return {}
    return {
        "neg_category_ids": sorted(image.coverage.negative),
        "not_exhaustive_category_ids": sorted(image.coverage.not_exhaustive),
    }
