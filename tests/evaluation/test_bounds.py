"""Masks whose boundary is replaced by the true one, and eroded ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bpr import rle as rle_codec
from bpr.evaluation.bounds import eroded_mask, main, oracle_mask, oracle_masks
from bpr.patches.boundary import boundary_band
from bpr.structures import ImageRecord, Mask, Prediction, TrueInstance


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
    predicted = Prediction(rle_codec.encode(mask), 1, 0.9, 0)
    other = Prediction(rle_codec.encode(mask), 2, 0.9, 1)
    image = ImageRecord(
        1, Path("1.jpg"), (30, 30), (predicted, other), (TrueInstance(rle_codec.encode(true), 1, area=225.0),)
    )

    assert oracle_masks([image], 2)[0].instances[0].rle == image.truths[0].rle
    assert oracle_masks([image], 1)[0].instances[0].rle != image.truths[0].rle
    assert oracle_masks([image], 2)[0].instances[1] == other  # no object of its class


def test_a_square_loses_its_rim_but_not_at_the_border_of_the_image() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[3:8, 5:] = True
    expected = np.zeros((10, 10), np.bool_)
    expected[4:7, 6:] = True
    assert np.array_equal(rle_codec.decode(eroded_mask(rle_codec.encode(mask), 1)), expected)


def test_a_mask_that_would_vanish_stays() -> None:
    for mask in (np.zeros((5, 5), np.bool_), np.eye(5, dtype=np.bool_)):
        assert eroded_mask(rle_codec.encode(mask), 1) == rle_codec.encode(mask)


def test_the_command_prints_what_to_beat_and_what_to_reach(
    make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_files()

    assert main([str(files.results), str(files.annotations), "--distance", "1", "4", "--erode", "2"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    names = [row.split("|")[1].strip() for row in rows]
    assert names == ["as predicted", "to beat: eroded 2 px", "to reach: oracle 1 px", "to reach: oracle 4 px"]
    aps = [float(row.split("|")[2]) for row in rows]
    assert aps[0] < aps[2] < aps[3]
    assert aps[1] != aps[0]


def test_the_command_refuses_bad_input(make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    files = make_files()

    assert main(["missing.json", str(files.annotations)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main([str(files.results), str(files.annotations), "--distance", "0"])
    assert stopped.value.code == 2


def test_the_bounds_of_coco_val_have_their_published_figures(
    shared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_dir / "data" / "coco_val"
    files = [str(folder / "coarse_yolov5n_seg.json"), str(folder / "instances.json")]

    assert main([*files, "--distance", "3"]) == 0
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        ["as predicted", "25.1", "42.0", "24.8", "14.7"],
        ["to beat: eroded 1 px", "24.5", "41.0", "23.4", "14.1"],
        ["to reach: oracle 3 px", "36.0", "45.0", "38.0", "28.7"],
    ]
