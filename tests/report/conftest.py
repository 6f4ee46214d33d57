"""Runs on the toy data, as they are when ``refine.py`` has written its results."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from bpr import rle as rle_codec
from bpr.data.image_records import refinement_records
from bpr.evaluation.annotated_predictions import PredictedImages, with_masks
from bpr.evaluation.scores import evaluate_images
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import FORMAT, read_results, refined_entry
from bpr.formats.predictions import Predictions
from bpr.refine.summary import FinishedRun, RefinementSummary
from bpr.report.changes import instance_changes

SUMMARY = RefinementSummary(4, 12, 11, 3, 77, {"empty mask": 1})


class Counted(Sequence):
    """Entries that count how often they are read from the first to the last, and one by one."""

    def __init__(self, entries):
        self.entries, self.passes, self.single = entries, 0, 0

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, number):
        self.single += 1
        return self.entries[number]

    def __iter__(self):
        self.passes += 1
        return iter(self.entries)


@dataclass
class Finished:
    """A run, and what the report makes of it."""

    run: FinishedRun
    evaluation: object
    changes: list = field(default_factory=list)

    def arguments(self):
        return self.run, self.changes, self.evaluation


def empty_mask(n, coarse, truth):
    return rle_codec.encode(np.zeros(coarse["size"], np.bool_))


def mixed_masks(n, coarse, truth):
    """Entries 0 and 4 become perfect, 2 is lost, the others stay."""
    return {0: truth, 4: truth, 2: empty_mask(n, coarse, truth)}.get(n, coarse)


@pytest.fixture
def finish(toy_coco):
    """A function that makes a run on the toy data whose refined masks are ``refine(entry, coarse, truth)``."""

    def make(refine=mixed_masks, annotated=True, output=None):
        annotations = read_annotations(toy_coco.annotations)
        entries = read_results(toy_coco.predictions)
        truths = [truth.rle for image in annotations.images.values() for truth in image.truths]
        refined = [refined_entry(e, refine(n, e["segmentation"], truths[n])) for n, e in enumerate(entries)]
        output = Path(output or toy_coco.root / "refined.json")
        coarse = Predictions(toy_coco.predictions, FORMAT, Counted(entries))
        results = Predictions(output, FORMAT, Counted(refined))
        records = refinement_records(toy_coco.images, replace(coarse, entries=entries), annotations)
        run = FinishedRun(records, coarse, results, annotations if annotated else None, SUMMARY, 4.5)
        before = PredictedImages(coarse.path, list(records))
        after = with_masks(before, replace(results, entries=refined))
        evaluation = evaluate_images(after, annotations, before) if annotated else None
        return Finished(run, evaluation, instance_changes(before.records, after.records, evaluation))

    return make
