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
from bpr.formats.faults import Faults
from bpr.formats.prediction_format import Listed
from bpr.formats.predictions import Predictions, read_predictions
from bpr.structures import OnError

CODE = rle.encode(np.ones((2, 3), bool))
NAMES = {1: "train/a.jpg", 2: "train/b.jpg", 3: "val/b.jpg"}


def annotations(names=NAMES, classes=("cat", "dog")):
    images = {number: AnnotatedImage(name, (2, 3), ()) for number, name in names.items()}
    return Annotations(Path("truth.json"), images, dict(enumerate(classes, 1)))


def entry(image_id, file_name=None, category=1):
    of_image = {} if file_name is None else {"file_name": file_name}
    return {"image_id": image_id, "category_id": category, "score": 1.0, "segmentation": CODE, **of_image}


def images(*listed, names=NAMES, without_masks=()):
    """The ids that images, listed by id and name, get."""
    entries = [entry(*image) for image in listed]
    of_file = Listed({number: name for number, name in (*listed, *without_masks) if name is not None})
    found, notes = align_listed(entries, of_file, Path("some/labels.json"), annotations(names))
    return [one["image_id"] for one in found], notes


def classes(listed, theirs=("cat", "dog"), used=None):
    """The ids that classes, listed by id and name, get; None: as they are ``used``."""
    entries = [entry(1, category=number) for number in used or listed]
    found, notes = align_listed(entries, Listed({}, listed), Path("labels.json"), annotations(classes=theirs))
    return [one["category_id"] for one in found], notes


@pytest.mark.parametrize("name", ["a.jpg", "train/a.jpg", r"C:\data\train\a.jpg", "a.png", "a"])
def test_an_image_has_the_id_of_the_one_that_its_name_fits(name):
    assert images((2, name)) == ([1], [])


def test_of_two_images_that_a_name_fits_that_of_the_id_is_it_or_the_one_of_just_this_name():
    assert images((3, "b.jpg")) == ([3], [])
    assert images((1, "b.jpg"), names={1: "train/b.jpg", 2: "b.jpg"}) == ([2], [])


def test_an_id_of_another_type_is_that_of_the_annotations():
    assert images(("2", "train/b.jpg"), ("3", None)) == ([2, 3], [])


def test_where_no_name_fits_the_id_counts_and_a_remark_says_so():
    ids, notes = images((1, "x.jpg"), (2, "y.jpg"), (9, "z.jpg"), (3, None))
    assert ids == [1, 2, 9, 3]
    assert notes == ["2 images of other names in the annotations, taken by id (such as x.jpg, there train/a.jpg)"]


def test_once_a_name_shows_that_ids_are_others_an_id_alone_is_of_no_image():
    ids = images((1, "some/x.jpg"), (2, "train/a.jpg"), (3, None), (9, "b.jpg"))
    assert ids == (["1 (x.jpg) of labels.json", 1, "3 of labels.json", "9 (b.jpg) of labels.json"], [])
    ids = images((1, "x.jpg"), without_masks=[(2, "train/a.jpg")])
    assert ids == (["1 (x.jpg) of labels.json"], [])


@pytest.mark.parametrize(
    ("names", "listed", "expected"),
    [
        ({7: "0.png"}, [(1, "train/0.png"), (2, "val/0.png")], ["1 (0.png)", "2 (0.png)"]),
        ({1: "0.png"}, [(1, "train/0.png"), (2, "val/0.png")], [1, "2 (0.png)"]),
        ({1: "v1/0.png"}, [(1, "0.png"), (2, "0.png")], [1, "2 (0.png)"]),
        ({1: "0.png", 2: "b.png"}, [(1, "0.png"), (2, "0.png")], [1, "2 (0.png)"]),
        ({9: "v1/0.png"}, [(1, "0.png"), (2, "0.png")], ["1 (0.png)", "2 (0.png)"]),
    ],
)
def test_two_images_do_not_become_one(names, listed, expected):
    assert images(*listed, names=names)[0] == [n if isinstance(n, int) else f"{n} of labels.json" for n in expected]


def test_what_begins_with_a_digit_is_no_suffix():
    names = {1: "shot_12.30", 2: "x.png", 3: "IM.0001"}
    assert images((2, "shot_12.45"), names=names)[0] == [2]
    assert images((3, "IM.0002"), names=names)[0] == [3]
    assert images((2, "IM.0001"), names=names)[0] == [3]


def test_an_image_that_is_none_of_the_annotations_is_refused():
    entries = [{**entry(1, "train/b.jpg"), "annotation": 0}, {**entry(2, "x.jpg"), "annotation": 1}]
    listed = Listed({1: "train/b.jpg", 2: "x.jpg"})
    given = Predictions(Path("l.json"), coco_annotations.FORMAT, entries, listed=listed)
    message = r"annotations\[1\]: image_id '2 \(x\.jpg\) of l\.json' is not among the 3 images of truth\.json"
    with pytest.raises(FormatError, match=message):
        given.aligned(annotations()).by_image(annotations())


def test_a_class_has_the_id_of_the_one_with_its_name():
    assert classes({1: "dog", 2: "cat", 3: "Dog "}) == ([2, 1, 2], [])
    assert classes({5: "dog", 9: "bird"}) == ([2, 9], [])


def test_case_counts_where_annotations_have_a_name_in_two():
    assert classes({7: "CAT", 8: "cat"}, theirs=("cat", "CAT")) == ([2, 1], [])
    assert classes({1: "CAT", 2: "cat"}, theirs=("cat", "CAT")) == ([2, 1], [])
    assert classes({2: "cat", 5: "cat"}, theirs=("dog", "cat")) == ([2, 2], [])
    assert classes({1: "cat", 2: "cat"}, theirs=("cat", "cat")) == ([1, 2], [])  # as Roboflow has them
    assert classes({1: "Cat", 2: "cat"}, theirs=("cat", "bird")) == ([1, 1], [])


def test_a_class_of_another_name_alone_keeps_its_id_and_a_remark_says_so():
    note = "1 class of other names in the annotations, taken by id (such as hound, there dog)"
    assert classes({1: "cat", 2: "hound"}) == ([1, 2], [note])


def test_a_class_whose_id_is_there_that_of_another_class_of_the_file_gets_a_free_one():
    listed = {1: "bird", 7: "cat"}
    (bird, cat), notes = classes(listed)
    assert (cat, notes) == (1, [])
    assert bird not in (1, 2, 7)
    assert classes(listed, used=[1]) == ([bird], [])  # also where no cat was predicted


def test_a_class_that_the_file_does_not_name_is_none_that_it_does():
    (one, other), _ = classes({1: "cat"}, theirs=("dog", "cat"), used=[1, 2])
    assert one == 2
    assert other not in (1, 2)
    assert classes({1: "dog"}, theirs=("dog", "cat"), used=[1, 2]) == ([1, 2], [])


def test_classes_without_a_name_in_the_annotations_are_taken_by_id():
    assert classes({1: "0", 2: "1"}, theirs=("1", "2")) == ([1, 2], [])
    assert classes({1: "0", 2: "1", 3: "2"}, theirs=("1", "2", "0")) == ([3, 1, 2], [])  # which are names


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
    listed = Listed({2: "a.jpg"}, {1: "dog", 2: "cat"})
    given = Predictions(Path("p.json"), form, [entry(2, "a.jpg", 1)], ("read",), listed=listed)
    found = given.aligned(annotations())
    assert (found.entries[0]["image_id"], found.entries[0]["category_id"]) == (1, 2)
    assert found.notes == ["read"]


def test_remarks_are_logged_by_evaluations_and_trainings(toy_coco, tmp_path, caplog):
    rough = json.loads(toy_coco.annotations.read_text())
    for number, image in enumerate(rough["images"]):
        image["file_name"] = f"renamed {number}.jpg"
    (tmp_path / "rough.json").write_text(json.dumps(rough))
    assert evaluate(tmp_path / "rough.json", toy_coco.annotations).scores.mask.ap == pytest.approx(1)
    assert "images of other names in the annotations, taken by id (such as renamed 0.jpg" in caplog.text


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
    right = {**wrong[0], "file_name": f"some/folder/{truth.images[one].file_name}"}
    fine = [right, {**right, "file_name": "x.jpg"}]
    assert len(refinement_records(toy_coco.images, Predictions(toy_coco.predictions, coco.FORMAT, fine), truth)) == 1
    both = Predictions(toy_coco.predictions, coco.FORMAT, [*wrong, right])
    faults = Faults(OnError.keep)
    (record,) = refinement_records(toy_coco.images, both, truth, faults=faults)
    assert [instance.position for instance in record.instances] == [1]
    assert [fault.position for fault in faults.found] == [0]
    with pytest.raises(FormatError, match="entry 1: image_id"):
        refinement_records(toy_coco.images, Predictions(toy_coco.predictions, coco.FORMAT, [right, *wrong]), truth)
