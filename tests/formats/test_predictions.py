import json
from pathlib import Path

import numpy as np
import pytest

from bpr import rle
from bpr.formats import cityscapes, coco, coco_annotations, mask_images, panoptic
from bpr.formats.annotations import AnnotatedImage, Annotations
from bpr.formats.errors import FormatError
from bpr.formats.predictions import ANY_CLASS, Predictions, read_predictions
from bpr.structures import TrueInstance

CODE = rle.encode(np.ones((2, 3), bool))
ENTRY = {"image_id": 1, "category_id": 1, "score": 1, "segmentation": CODE}
MISLEADING = {"mask_file": "x", "value": 3, "prediction_file": "y", "line_number": 1, "segment": 2, "png_file": "z"}
ON_LINE = {**ENTRY, "prediction_file": "a/x_pred.txt", "line_number": 3, "mask_file": "a/0.png"}
ONE_MASK = {**ENTRY, "image_id": "a", "mask_file": "a_1.png", "value": None}
LABEL = {**ENTRY, "image_id": "a", "mask_file": "a.png", "value": 5}
SEGMENT = {**ENTRY, "png_file": "1.png", "segment": 9}


def annotated(*classes, file_name="folder/a.jpg"):
    truths = tuple(TrueInstance(CODE, category) for category in classes)
    images = {5: AnnotatedImage(file_name, (2, 3), truths, (6.0,) * len(truths))}
    return Annotations(Path("truth.json"), images, {category: f"class {category}" for category in classes})


def masks(*entries):
    return Predictions(Path("masks"), mask_images.FORMAT, entries)


def test_entries_without_class_and_score_have_the_only_class_and_score_1():
    given = Predictions(Path("r.json"), coco.FORMAT, [{"image_id": 5.0, "segmentation": CODE}])
    truth = annotated(3)
    aligned = given.aligned(truth)
    assert aligned.entries == given.entries
    assert aligned.comparable(truth) is truth
    ((image_id, (instance,)),) = aligned.by_image(truth).items()
    assert (repr(image_id), instance.category, instance.score) == ("5", 3, 1.0)


def test_entries_without_class_are_compared_without_classes_but_not_if_some_have_one():
    truth = annotated(3, 4)
    entries = [{"image_id": 5, "segmentation": CODE}, {"image_id": 5, "category_id": None, "segmentation": CODE}]
    given = Predictions(Path("r.json"), coco.FORMAT, entries).aligned(truth)
    assert [*given.comparable(truth).categories] == [ANY_CLASS]
    assert {i.category for i in given.by_image(truth)[5]} == {ANY_CLASS}
    mixed = Predictions(Path("r.json"), coco.FORMAT, [*entries, ENTRY]).aligned(truth)
    assert mixed.comparable(truth) is truth


def test_only_formats_with_polygons_have_a_polygon_tolerance(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps([ENTRY]))
    message = r"r\.json: has format coco, which knows no polygon_tolerance; it is for coco_annotations, yolo, labelme"
    with pytest.raises(FormatError, match=message):
        read_predictions(tmp_path / "r.json", polygon_tolerance=1.0)


def test_only_label_images_have_an_ignore_label(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps([ENTRY]))
    with pytest.raises(FormatError, match=r"r\.json: has format coco, which knows no ignore_label"):
        read_predictions(tmp_path / "r.json", ignore_label=255)


@pytest.mark.parametrize(
    ("form", "entry", "expected", "within"),
    [
        (coco.FORMAT, ENTRY, "predictions.x, entry 7", "entry 7"),
        (coco.FORMAT, {**ENTRY, **MISLEADING}, "predictions.x, entry 7", "entry 7"),
        (coco.JSON_LINES, {**ENTRY, **MISLEADING}, "predictions.x, entry 7", "entry 7"),
        (coco_annotations.FORMAT, {"annotation": 9}, "predictions.x, annotations[9]", "annotations[9]"),
        (
            cityscapes.FORMAT,
            ON_LINE,
            "predictions.x/a/x_pred.txt, line 3 (predictions.x/a/0.png)",
            "a/x_pred.txt, line 3 (a/0.png)",
        ),
        (mask_images.FORMAT, ONE_MASK, "predictions.x/a_1.png", "a_1.png"),
        (mask_images.FORMAT, LABEL, "predictions.x/a.png, value 5", "a.png, value 5"),
        (panoptic.FORMAT, SEGMENT, "predictions/1.png, segment 9", "1.png, segment 9"),
    ],
)
def test_an_entry_is_named_where_a_person_finds_it(form, entry, expected, within):
    predictions = Predictions(Path("predictions.x"), form, [ENTRY] * 7 + [entry])
    assert predictions.named_place(7) == predictions.named_place(7, entry) == expected
    assert predictions.place_within(7) == within
    assert str(FormatError(*predictions.place(7), "is wrong")) == f"{expected}: is wrong"


@pytest.mark.parametrize(
    ("form", "entry", "message"),
    [
        (coco.FORMAT, {**ENTRY, **MISLEADING}, r"p, entry 0: segmentation: the RLE is \(2, 3\) \(h, w\), its image"),
        (cityscapes.FORMAT, ON_LINE, r"x_pred\.txt, line 3 .*: the mask is \(2, 3\) \(h, w\), its image \(30, 40\)"),
        (mask_images.FORMAT, ONE_MASK, r"a_1\.png: the mask is \(2, 3\) .*; save it in the size of the image"),
        (panoptic.FORMAT, SEGMENT, r"1\.png, segment 9: the mask is \(2, 3\)"),
    ],
)
def test_a_mask_of_another_size_than_its_image_is_named(form, entry, message):
    with pytest.raises(FormatError, match=message):
        Predictions(Path("p"), form, [entry]).rle(0, entry, (30, 40))
    assert Predictions(Path("p"), form, [entry]).rle(0, entry, (2, 3)) == CODE


def test_a_coco_result_with_fields_of_other_formats_keeps_its_ids():
    entry = {**ENTRY, **MISLEADING, "image_id": 5, "category_id": 3}
    predictions, annotations = Predictions(Path("r.json"), coco.FORMAT, [entry]), annotated(3, 4)
    assert predictions.aligned(annotations).entries == [entry]
    assert predictions.comparable(annotations) is annotations


@pytest.mark.parametrize("name", ["a", "folder/a", "set/folder/a"])
def test_masks_in_files_find_their_image_by_name(name):
    assert masks({**ONE_MASK, "image_id": name}).aligned(annotated(3, 4)).entries[0]["image_id"] == 5


def test_masks_in_another_folder_are_not_of_an_image():
    assert masks({**ONE_MASK, "image_id": "other/a"}).aligned(annotated(3)).entries[0]["image_id"] == "other/a"


def test_masks_in_files_have_the_only_class_there_is():
    annotations = annotated(3)
    assert masks(ONE_MASK).aligned(annotations).entries[0]["category_id"] == 3
    assert masks(ONE_MASK).comparable(annotations) is annotations


def test_masks_in_files_are_compared_without_classes_where_there_are_several():
    truth = masks(ONE_MASK).comparable(annotated(3, 4))
    assert {t.category for t in truth.images[5].truths} == {ANY_CLASS}
    assert truth.categories == {ANY_CLASS: "any class"}
    assert masks(ONE_MASK).aligned(annotated(3, 4)).entries[0]["category_id"] == ANY_CLASS


def test_no_masks_leave_the_annotations_alone():
    annotations = annotated(3, 4)
    assert masks().comparable(annotations) is annotations


def test_cityscapes_classes_and_images_are_found_by_name():
    entry = {**ON_LINE, "image_id": "ulm_000000_000019", "category_id": 26}
    truth = annotated(8, file_name="ulm_000000_000019_leftImg8bit.png")
    truth.categories[8] = "car"
    (found,) = Predictions(Path("p"), cityscapes.FORMAT, [entry]).aligned(truth).entries
    assert (found["image_id"], found["category_id"]) == (5, 8)


def test_a_class_in_another_case_is_that_of_its_name_unless_there_is_one_in_this_case():
    truth = annotated(1, 2, 3)
    truth.categories.update({1: "Cat", 2: "cat", 3: "dog"})
    entries = [{**ON_LINE, "image_id": "x", "class_name": name, "category_id": 7} for name in ("Cat", "cat", "Dog ")]
    aligned = Predictions(Path("p"), cityscapes.FORMAT, entries).aligned(truth)
    assert [entry["category_id"] for entry in aligned.entries] == [1, 2, 3]


def test_a_class_that_the_annotations_do_not_name_is_none_of_theirs():
    truth = annotated(1, 2)
    names = enumerate(["class 2", "cat", "class 1"])
    entries = [{**ON_LINE, "image_id": "x", "class_name": name, "category_id": number} for number, name in names]
    aligned = Predictions(Path("p"), cityscapes.FORMAT, entries).aligned(truth)
    first, unknown, last = (entry["category_id"] for entry in aligned.entries)
    assert (first, last) == (2, 1)
    assert unknown not in truth.categories


def test_names_of_classes_are_those_of_entries_or_of_the_format():
    entries = [{**ON_LINE, "category_id": 3, "class_name": "cat"}, {**ON_LINE, "category_id": 24}]
    names = Predictions(Path("p"), cityscapes.FORMAT, entries).class_names
    assert (names[3], names[24]) == ("cat", "person")
    odd = [5, {"class_name": "car"}, {"category_id": [], "class_name": "a"}, {"category_id": 1, "class_name": {}}]
    assert Predictions(Path("p"), coco.FORMAT, odd).class_names == {}


def test_a_name_that_fits_two_images_is_left_as_it_is():
    truth = annotated(3)
    truth.images[6] = AnnotatedImage("folder/a.png", (2, 3), ())
    assert masks(ONE_MASK).aligned(truth).entries[0]["image_id"] == "a"


def test_only_coco_annotations_have_crowds(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps([ENTRY]))
    with pytest.raises(FormatError, match=r"r\.json: has format coco, which knows no crowds"):
        read_predictions(tmp_path / "r.json", crowds=True)
