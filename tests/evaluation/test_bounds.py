"""Masks whose boundary is replaced by the true one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bpr import rle as rle_codec
from bpr.evaluation.average_precision import average_precision, boundary_average_precision
from bpr.evaluation.bounds import main, oracle_mask, oracle_masks
from bpr.evaluation.images import EvaluatedImage, read_ground_truth, read_predictions, with_predictions
from bpr.patches.boundary import boundary_band
from bpr.structures import CoarseInstance, Mask, TrueInstance


@given(st.data(), st.integers(1, 4))
def test_the_band_is_taken_from_the_object_and_the_rest_from_the_prediction(data: Any, distance: int) -> None:
    shape = data.draw(st.tuples(st.integers(1, 16), st.integers(1, 16)))
    predicted: Mask = data.draw(arrays.arrays(np.bool_, shape))
    predicted[:, shape[1] // 2 :] = False  # so that the window is a part of the image
    true: Mask = data.draw(arrays.arrays(np.bool_, shape))

    found = rle_codec.decode(oracle_mask(rle_codec.encode(predicted), rle_codec.encode(true), distance))

    assert np.array_equal(found, np.where(boundary_band(predicted, distance), true, predicted))


def test_a_mask_whose_error_lies_in_the_band_becomes_the_object() -> None:
    mask, true = np.zeros((30, 30), np.bool_), np.zeros((30, 30), np.bool_)
    mask[5:20, 5:20] = true[7:22, 5:20] = True
    predicted = CoarseInstance(rle_codec.encode(mask), 1, 0.9, 0)
    other = CoarseInstance(rle_codec.encode(mask), 2, 0.9, 1)
    image = EvaluatedImage(1, (30, 30), (predicted, other), (TrueInstance(rle_codec.encode(true), 1),), (225.0,))

    assert oracle_masks([image], 2)[0].predicted[0].rle == image.truths[0].rle
    assert oracle_masks([image], 1)[0].predicted[0].rle != image.truths[0].rle
    assert oracle_masks([image], 2)[0].predicted[1] == other  # no object of its class
    assert oracle_masks([image], 0) == [image]


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        oracle_masks([], -1)


def test_the_command_prints_one_row_per_distance(
    make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_files()

    assert main([str(files.results), str(files.annotations), "--distance", "1", "4"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["as predicted", "oracle 1 px", "oracle 4 px"]
    aps = [float(row.split("|")[2]) for row in rows]
    assert aps == sorted(aps)


def test_the_command_refuses_bad_input(make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    files = make_files()

    assert main(["missing.json", str(files.annotations)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main([str(files.results), str(files.annotations), "--distance", "0"])
    assert stopped.value.code == 2


def test_the_upper_bound_of_coco_val_has_its_published_figures(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "coco_val"
    annotations, images = read_ground_truth(folder / "instances.json")
    results = folder / "coarse_yolov5n_seg.json"
    images = oracle_masks(with_predictions(images, read_predictions(results, annotations)), 3)

    found, boundary = average_precision(images), boundary_average_precision(images)

    assert [round(100 * (v or 0), 1) for v in (found.ap, found.ap50, found.ap75)] == [36.0, 45.0, 38.0]
    assert round(100 * (boundary.ap or 0), 1) == 28.7
