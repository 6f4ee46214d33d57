"""Files that number images and classes otherwise than the annotations do."""

import json
from pathlib import Path

import numpy as np
import pytest

from bpr import rle
from bpr.data.image_records import refinement_records, training_records
from bpr.evaluation.scores import evaluate
from bpr.formats import coco, coco_annotations, panoptic
from bpr.formats.alignment import align_listed
from bpr.formats.annotations import AnnotatedImage, Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions, read_predictions

CODE = rle.encode(np.ones((2, 3), bool))
NAMES = {1: "train/a.jpg", 2: "train/b.jpg", 3: "val/b.jpg"}


def annotations(names=NAMES, classes=("cat", "dog")):
    images = {number: AnnotatedImage(name, (2, 3), ()) for number, name in names.items()}
    return Annotations(Path("truth.json"), images, dict(enumerate(classes, 1)))


def entry(image_id, file_name=None, category=1, class_name=None):
    named = {} if class_name is None else {"class_name": class_name}
    of_image = {} if file_name is None else {"file_name": file_name}
    return {"image_id": image_id, "category_id": category, "score": 1.0, "segmentation": CODE, **of_image, **named}


def aligned(*entries, **given):
    found, notes = align_listed(entries, annotations(**given))
    return [(one["image_id"], one["category_id"]) for one in found], notes


@pytest.mark.parametrize("name", ["a.jpg", "train/a.jpg", r"C:\data\train\a.jpg", "a.png", "a"])
def test_an_image_has_the_id_of_the_one_that_its_name_fits(name):
    assert aligned(entry(2, name)) == ([(1, 1)], [])


def test_a_name_that_fits_two_images_leaves_the_id(tmp_path):
    assert aligned(entry(3, "b.jpg"), entry(3, "train/b.jpg")) == ([(3, 1), (2, 1)], [])


def test_an_id_of_another_type_is_that_of_the_annotations():
    assert aligned(entry("2"), entry("2", "train/b.jpg")) == ([(2, 1), (2, 1)], [])


def test_where_no_name_fits_the_id_counts_and_a_remark_says_so():
    found, notes = aligned(entry(1, "x.jpg"), entry(2, "y.jpg"), entry(9, "z.jpg"))
    assert found == [(1, 1), (2, 1), (9, 1)]
    assert notes == ["2 images of other names in the annotations, taken by id (such as x.jpg, there train/a.jpg)"]


def test_a_class_has_the_id_of_the_one_with_its_name():
    swapped = [entry(1, category=1, class_name="dog"), entry(1, category=2, class_name="cat")]
    assert aligned(*swapped)[0] == [(1, 2), (1, 1)]


def test_a_class_of_another_name_alone_keeps_its_id():
    assert aligned(entry(1, category=2, class_name="hound"), entry(1, category=2))[0] == [(1, 2), (1, 2)]


def test_a_class_whose_id_is_there_that_of_another_class_of_the_file_gets_a_free_one():
    ours = [entry(1, category=1, class_name="bird"), entry(1, category=7, class_name="cat")]
    (bird, cat), _ = aligned(*ours)
    assert cat == (1, 1)
    assert bird[1] not in (1, 2)


def renumbered(toy, tmp_path):
    """The toy predictions as an annotation file with ids, of images and classes, that are others' in the truth."""
    truth = json.loads(toy.annotations.read_text())
    ids, classes = ([one["id"] for one in truth[name]] for name in ("images", "categories"))
    new, new_class = (dict(zip(them, [*them[1:], them[0]], strict=True)) for them in (ids, classes))
    coarse = json.loads(toy.predictions.read_text())
    rough = [
        {"id": n, "image_id": new[e["image_id"]], "category_id": new_class[e["category_id"]], "score": e["score"]}
        | {"segmentation": e["segmentation"]}
        for n, e in enumerate(coarse)
    ]
    content = {
        "images": [{**image, "id": new[image["id"]]} for image in truth["images"]],
        "annotations": rough,
        "categories": [{**one, "id": new_class[one["id"]]} for one in truth["categories"]],
    }
    (tmp_path / "rough.json").write_text(json.dumps(content))
    return tmp_path / "rough.json"


def test_an_annotation_file_with_other_ids_is_refined_and_scored_as_with_those_of_the_truth(toy_coco, tmp_path):
    rough, truth = renumbered(toy_coco, tmp_path), read_annotations(toy_coco.annotations)
    read = read_predictions(rough)
    alone = refinement_records(toy_coco.images, read)
    with_truth = refinement_records(toy_coco.images, read.aligned(truth), truth)
    assert [record.path for record in with_truth] == [record.path for record in alone]
    expected = evaluate(toy_coco.predictions, toy_coco.annotations).scores
    assert evaluate(rough, toy_coco.annotations).scores == expected
    read.write(tmp_path / "out.json", read.aligned(truth).entries)
    assert (tmp_path / "out.json").read_bytes() == rough.read_bytes()
    trained = training_records(toy_coco.images, truth, [rough])
    usual = training_records(toy_coco.images, truth, [toy_coco.predictions])
    assert [record.instances for record in trained] == [record.instances for record in usual]


@pytest.mark.parametrize("form", [coco_annotations.FORMAT, panoptic.FORMAT], ids=lambda form: form.name)
def test_formats_that_list_images_are_aligned_by_names(form):
    given = Predictions(Path("p.json"), form, [entry(2, "a.jpg", 1, "dog")])
    (found,) = given.aligned(annotations()).entries
    assert (found["image_id"], found["category_id"]) == (1, 2)


def test_a_result_whose_file_name_is_that_of_another_image_is_refused(toy_coco):
    truth, entries = read_annotations(toy_coco.annotations), json.loads(toy_coco.predictions.read_text())
    one, other = list(truth.images)[:2]
    wrong = [{**entries[0], "image_id": one, "file_name": truth.images[other].file_name}]
    predictions = Predictions(toy_coco.predictions, coco.FORMAT, wrong)
    message = rf"entry 0: image_id {one} is .*, but file_name is .*; give the annotations that"
    with pytest.raises(FormatError, match=message):
        refinement_records(toy_coco.images, predictions, truth)
    with pytest.raises(FormatError, match=message):
        predictions.by_image(truth)
    right = [
        {**wrong[0], "file_name": f"some/folder/{truth.images[one].file_name}"},
        {**wrong[0], "file_name": "x.jpg"},
    ]
    fine = Predictions(toy_coco.predictions, coco.FORMAT, right)
    assert len(refinement_records(toy_coco.images, fine, truth)) == 1
