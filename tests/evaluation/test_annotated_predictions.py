"""Results and annotations joined image by image, each file read once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpr import rle as rle_codec
from bpr.evaluation.annotated_predictions import (
    PredictedImages,
    check_same_predictions,
    predicted_images,
    with_masks,
    with_truths,
)
from bpr.evaluation.scores import evaluate_images
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import FORMAT
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions, read_aligned


class CountedEntries(list[Entry]):
    """Entries that count how often they are read."""

    passes = 0

    def __iter__(self) -> Iterator[Entry]:
        self.passes += 1
        return super().__iter__()

    def __getitem__(self, number: Any) -> Any:
        raise AssertionError("an entry was read on its own")


def test_scores_beside_coarse_masks_read_each_file_once(make_files: Callable[..., Any]) -> None:
    files = make_files(2)
    annotations = read_annotations(files.annotations)
    coarse, refined = (
        Predictions(files.results, FORMAT, CountedEntries(json.loads(files.results.read_text()))) for _ in range(2)
    )

    evaluate_images(predicted_images(refined, annotations), annotations, predicted_images(coarse, annotations))

    assert [results.entries.passes for results in (coarse, refined)] == [1, 1]  # type: ignore[attr-defined]


def test_images_have_their_predictions_in_the_order_of_the_file_and_their_objects(
    make_files: Callable[..., Any],
) -> None:
    files = make_files(3)
    annotations = read_annotations(files.annotations)
    entries = json.loads(files.results.read_text())

    records = with_truths(predicted_images(read_aligned(files.results, annotations), annotations), annotations)

    assert [record.image_id for record in records] == list(annotations.images)
    for record in records:
        expected = [n for n, entry in enumerate(entries) if entry["image_id"] == record.image_id]
        assert [instance.position for instance in record.instances] == expected
        assert record.truths == annotations.images[record.image_id].truths


def test_images_without_predictions_are_images_too(make_files: Callable[..., Any]) -> None:
    annotations = read_annotations(make_files().annotations)
    records = with_truths(PredictedImages(Path("none.json"), []), annotations)

    assert [(record.image_id, record.instances) for record in records] == [(i, ()) for i in annotations.images]


def test_refined_masks_go_to_the_predictions_that_they_were_made_from(make_files: Callable[..., Any]) -> None:
    files = make_files(4)
    annotations = read_annotations(files.annotations)
    coarse = predicted_images(read_aligned(files.results, annotations), annotations)
    entries = json.loads(files.results.read_text())
    for entry in entries:
        entry["segmentation"] = rle_codec.encode(~rle_codec.decode(entry["segmentation"]))

    refined = with_masks(coarse, Predictions(Path("refined.json"), FORMAT, entries))

    check_same_predictions(refined, coarse)
    for before, after in zip(coarse.records, refined.records, strict=True):
        for old, new in zip(before.instances, after.instances, strict=True):
            assert np.array_equal(rle_codec.decode(new.rle), ~rle_codec.decode(old.rle))
            assert new == replace(old, rle=new.rle)


def test_a_refined_mask_of_another_size_names_its_file_and_entry(make_files: Callable[..., Any]) -> None:
    files = make_files()
    annotations = read_annotations(files.annotations)
    coarse = predicted_images(read_aligned(files.results, annotations), annotations)
    entries = json.loads(files.results.read_text())
    entries[1]["segmentation"] = {"size": [1, 1], "counts": "0"}

    with pytest.raises(FormatError, match=r"refined\.json, entry 1: segmentation"):
        with_masks(coarse, Predictions(Path("refined.json"), FORMAT, entries))
