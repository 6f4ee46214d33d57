"""AP equals pycocotools', Boundary AP an implementation of boundary IoU that is written here."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bpr import rle as rle_codec
from bpr.evaluation.annotated_predictions import read_annotated_predictions
from bpr.evaluation.average_precision import AveragePrecision, average_precision, boundary_average_precision
from bpr.structures import ClassCoverage, ImageRecord, Prediction, TrueInstance


def read(files: Any) -> list[ImageRecord]:
    return read_annotated_predictions(files.results, files.annotations)


def image_of(
    number: int | str,
    predicted: tuple[Prediction, ...] = (),
    truths: tuple[TrueInstance, ...] = (),
    coverage: ClassCoverage | None = None,
) -> ImageRecord:
    """An image of 40 x 50 px."""
    return ImageRecord(number, Path(f"{number}.jpg"), (40, 50), predicted, truths, coverage=coverage)


class BoundaryEval(COCOeval):
    """COCO's evaluation with the lesser of mask IoU and boundary IoU (Cheng et al., CVPR 2021)."""

    ratio = 0.02

    def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: N802, N803 (as pycocotools calls it)
        true, predicted = self._gts[imgId, catId], self._dts[imgId, catId]
        if not true or not predicted:
            return []
        predicted = [predicted[n] for n in np.argsort([-p["score"] for p in predicted], kind="mergesort")][:100]
        iou = np.zeros((len(predicted), len(true)))
        for row, p in enumerate(predicted):
            for column, t in enumerate(true):
                masks = [rle_codec.decode(as_text(entry["segmentation"])) for entry in (p, t)]
                if t["iscrowd"]:
                    iou[row, column] = (masks[0] & masks[1]).sum() / masks[0].sum()
                else:
                    iou[row, column] = min(mask_iou(*masks), mask_iou(*(self.region(mask) for mask in masks)))
        return iou

    def region(self, mask: Any) -> Any:
        """The pixels of the mask within d px (chessboard distance) of background, or of what is beyond the image."""
        eroded = np.pad(mask, 1)
        for _ in range(max(1, round(self.ratio * np.hypot(*mask.shape)))):
            grown = np.pad(eroded, 1)
            views = [grown[y : y + eroded.shape[0], x : x + eroded.shape[1]] for y in range(3) for x in range(3)]
            eroded = np.logical_and.reduce(views)
        return mask & ~eroded[1:-1, 1:-1]


def as_text(segmentation: Any) -> Any:
    counts = segmentation["counts"]
    return {**segmentation, "counts": counts.decode() if isinstance(counts, bytes) else counts}


def mask_iou(first: Any, second: Any) -> float:
    return (first & second).sum() / max((first | second).sum(), 1)


def reference(kind: type[COCOeval], files: Any) -> list[float | None]:
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO(str(files.annotations))
        evaluation = kind(true, true.loadRes(str(files.results)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [None if value == -1 else value for value in evaluation.stats[:6]]


def figures(found: AveragePrecision) -> list[float | None]:
    return list(astuple(found))[:6]


def approximately(expected: list[float | None]) -> Any:
    return pytest.approx(expected, abs=1e-9)  # sums in another order


@pytest.mark.parametrize("seed", range(5))
def test_ap_equals_that_of_pycocotools(make_files: Callable[..., Any], seed: int) -> None:
    files = make_files(seed, images=12)

    assert figures(average_precision(read(files))) == approximately(reference(COCOeval, files))


@pytest.mark.parametrize(("seed", "ratio"), [(0, 0.02), (1, 0.02), (2, 0.005), (3, 0.05)])
def test_boundary_ap_equals_an_independent_implementation(
    make_files: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, seed: int, ratio: float
) -> None:
    files = make_files(seed, images=5)
    monkeypatch.setattr(BoundaryEval, "ratio", ratio)

    found = boundary_average_precision(read(files), ratio)

    assert figures(found) == approximately(reference(BoundaryEval, files))
    assert found.ap is not None
    assert found.ap < (average_precision(read(files)).ap or 0)


def test_ap_of_a_class_is_that_of_its_objects_alone(make_files: Callable[..., Any]) -> None:
    files = make_files(1, images=10)
    per_class = average_precision(read(files)).per_class
    for category in (1, 2, 7):
        alone = json.loads(files.annotations.read_text())
        alone["annotations"] = [a for a in alone["annotations"] if a["category_id"] == category]
        only = files.annotations.with_name("only.json")
        only.write_text(json.dumps(alone))
        found = average_precision(read_annotated_predictions(files.results, only))

        assert found.ap == pytest.approx(per_class[category])


def test_images_without_predictions_count(make_files: Callable[..., Any]) -> None:
    files = make_files()
    whole = average_precision(read(files)).ap
    files.change_results(lambda entries: entries.__delitem__(slice(len(entries) // 2, None)))

    assert (average_precision(read(files)).ap or 0) < (whole or 0)


def test_no_predictions_give_zero(make_files: Callable[..., Any]) -> None:
    files = make_files()
    files.change_results(list.clear)

    for found in (average_precision(read(files)), boundary_average_precision(read(files))):
        assert (found.ap, found.ap50, found.ap75) == (0, 0, 0)
        assert set(found.per_class.values()) == {0}


def test_sizes_without_objects_are_none_and_crowds_alone_give_none() -> None:
    mask = np.zeros((40, 50), np.bool_)
    mask[5:15, 5:15] = True
    rle = rle_codec.encode(mask)
    prediction = (Prediction(rle, 1, 0.5, 0),)
    one = image_of("a", prediction, (TrueInstance(rle, 1),))
    crowd = image_of("a", prediction, (TrueInstance(rle, 1, crowd=True),))

    assert figures(average_precision([one])) == [1, 1, 1, 1, None, None]
    assert average_precision([crowd]) == AveragePrecision(None, None, None, None, None, None, {})


def test_an_empty_mask_is_a_false_positive() -> None:
    mask = np.ones((40, 50), np.bool_)
    empty, full = rle_codec.encode(~mask), rle_codec.encode(mask)
    predicted = (Prediction(empty, 1, 0.9, 0), Prediction(full, 1, 0.5, 1))
    image = image_of(1, predicted, (TrueInstance(full, 1),))

    assert average_precision([image]).ap == pytest.approx(0.5)  # precision at every recall
    assert boundary_average_precision([image]).ap == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (None, 0.5),  # the better prediction of class 2 has no object
        (ClassCoverage(frozenset(), frozenset()), 1.0),  # class 2 was not checked in that image
        (ClassCoverage(frozenset({2}), frozenset()), 0.5),  # it was, and is not there
    ],
)
def test_lvis_counts_predictions_only_of_classes_that_were_checked(
    coverage: ClassCoverage | None, expected: float
) -> None:
    code = rle_codec.encode(np.ones((40, 50), np.bool_))
    other = None if coverage is None else ClassCoverage(frozenset(), frozenset())
    first = image_of(1, (Prediction(code, 2, 0.5, 0),), (TrueInstance(code, 2),), other)
    second = image_of(2, (Prediction(code, 2, 0.9, 1),), (), coverage)

    assert average_precision([first, second]).ap == pytest.approx(expected)
    assert boundary_average_precision([first, second]).ap == pytest.approx(expected)


def test_lvis_forgives_predictions_of_classes_that_are_not_annotated_exhaustively() -> None:
    mask = np.ones((40, 50), np.bool_)
    half = mask.copy()
    half[:, :10] = False
    code, wrong = rle_codec.encode(mask), rle_codec.encode(~half)
    predicted = (Prediction(wrong, 1, 0.9, 0), Prediction(code, 1, 0.5, 1))
    for known, expected in ((frozenset[int](), 0.5), (frozenset({1}), 1.0)):
        image = image_of(1, predicted, (TrueInstance(code, 1),), ClassCoverage(frozenset(), known))
        assert average_precision([image]).ap == pytest.approx(expected)


def test_the_area_of_the_annotation_decides_the_size() -> None:
    rle = rle_codec.encode(np.ones((40, 50), np.bool_))
    predicted = (Prediction(rle, 1, 0.9, 0),)

    found = average_precision([image_of(1, predicted, (TrueInstance(rle, 1, area=1e5),))])
    by_pixels = average_precision([image_of(1, predicted, (TrueInstance(rle, 1),))])

    assert (found.medium, found.large) == (None, 1)
    assert (by_pixels.medium, by_pixels.large) == (1, None)  # 2000 px


def test_nothing_is_printed(make_files: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    images = read(make_files())
    average_precision(images)
    boundary_average_precision(images)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ratio", [0, -0.1, 1, float("nan")])
def test_a_dilation_ratio_outside_its_range_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="dilation_ratio"):
        boundary_average_precision([image_of(1)], ratio)


def test_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        average_precision([])


def test_the_coarse_masks_of_coco_val_have_their_published_figures(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "coco_val"
    images = read_annotated_predictions(folder / "coarse_yolov5n_seg.json", folder / "instances.json")

    found, boundary = average_precision(images), boundary_average_precision(images)

    assert [round(100 * (v or 0), 1) for v in (found.ap, found.ap50, found.ap75)] == [25.1, 42.0, 24.8]
    assert round(100 * (boundary.ap or 0), 1) == 14.7
