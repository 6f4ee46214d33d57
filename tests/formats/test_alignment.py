from pathlib import Path

import numpy as np
import pytest

from bpr import rle
from bpr.formats.alignment import ANY_CLASS, aligned, comparable
from bpr.formats.coco import AnnotatedImage, Annotations
from bpr.structures import TrueInstance

CODE = rle.encode(np.ones((2, 3), bool))
MASKS = [{"image_id": "a", "category_id": 1, "score": 1.0, "segmentation": CODE, "mask_file": "a.png"}]


def annotated(*classes):
    truths = tuple(TrueInstance(CODE, category) for category in classes)
    images = {5: AnnotatedImage("folder/a.jpg", (2, 3), truths)}
    return Annotations(Path("truth.json"), images, {category: f"class {category}" for category in classes})


def test_masks_in_files_find_their_image_by_name():
    assert aligned(MASKS, annotated(3, 4))[0]["image_id"] == 5


def test_masks_in_files_have_the_only_class_there_is():
    annotations = annotated(3)
    assert aligned(MASKS, annotations)[0]["category_id"] == 3
    assert comparable(annotations, MASKS) is annotations


def test_masks_in_files_are_compared_without_classes_where_there_are_several():
    truth = comparable(annotated(3, 4), MASKS)
    assert {t.category for t in truth.images[5].truths} == {ANY_CLASS}
    assert truth.categories == {ANY_CLASS: "any class"}
    assert aligned(MASKS, annotated(3, 4))[0]["category_id"] == ANY_CLASS


@pytest.mark.parametrize("entries", [[], [{"image_id": 5, "category_id": 3}]])
def test_entries_with_classes_leave_the_annotations_alone(entries):
    annotations = annotated(3, 4)
    assert comparable(annotations, entries) is annotations
    assert aligned(entries, annotations) is entries
