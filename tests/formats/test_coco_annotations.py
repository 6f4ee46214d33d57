import json
import re
from dataclasses import replace

import numpy as np
import pytest

from bpr import rle
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.coco import refined_entry
from bpr.formats.coco_annotations import read_coco_annotations, write_coco_annotations
from bpr.formats.errors import FormatError
from bpr.formats.prediction_format import Reading
from bpr.formats.predictions import read_predictions

SIZE = (40, 50)


def box(x1, y1, x2, y2):
    mask = np.zeros(SIZE, np.bool_)
    mask[y1:y2, x1:x2] = True
    return mask


BEFORE = rle.encode(box(5, 5, 20, 20))
UNCOMPRESSED = {"size": list(SIZE), "counts": rle.uncompressed_counts(BEFORE)}
POLYGON = [[5.0, 5.0, 20.0, 5.0, 20.0, 20.0, 5.0, 20.0]]
ALL = {"id": 7, "image_id": 4, "category_id": 2, "iscrowd": 0, "area": 1.5, "bbox": [1, 2, 3, 4], "more": [None]}


def save(tmp_path, *annotations, **others):
    images = [{"id": 4, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1], "license": 1}]
    content = {"licenses": [1], "images": images, **others, "annotations": annotations, "categories": [{"id": 2}]}
    (tmp_path / "labels.json").write_text(json.dumps(content, indent=3))
    return tmp_path / "labels.json"


def rewrite(path, *masks, **options):
    """Write the file with other masks; None: the mask it has. Gives the new annotations and the notes."""
    entries = read_coco_annotations(path, Reading()).entries
    new = [e if m is None else refined_entry(e, rle.encode(m)) for e, m in zip(entries, masks, strict=True)]
    notes = write_coco_annotations(path.with_name("out.json"), new, path, **options)
    return json.loads(path.with_name("out.json").read_text())["annotations"], notes


def test_masks_are_read_with_what_refinement_needs(tmp_path):
    entries, notes, _ = read_coco_annotations(save(tmp_path, {**ALL, "segmentation": POLYGON}), Reading())
    expected = {"image_id": 4, "category_id": 2, "score": 1.0, "segmentation": BEFORE, "file_name": "a.jpg"}
    assert list(entries) == [{**expected, "annotation": 0}]
    assert notes == ()


def test_class_and_score_may_be_missing_or_given(tmp_path):
    bare = {"image_id": 4, "segmentation": POLYGON}
    given = [bare, {**bare, "category_id": None, "score": 0.25}, {**bare, "category_id": 3, "score": None}]
    entries, notes, _ = read_coco_annotations(save(tmp_path, *given), Reading())
    assert [(entry["category_id"], entry["score"]) for entry in entries] == [(None, 1.0), (None, 0.25), (3, 1.0)]
    assert notes == ("2 predictions have no category_id: taken as one class",)


def test_classes_have_the_names_of_the_file(tmp_path):
    path = save(tmp_path, {**ALL, "segmentation": POLYGON}, {**ALL, "category_id": 3, "segmentation": POLYGON})
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "categories": [{"id": 2, "name": "cat"}, {"id": 3}, 4, {"id": []}]}))
    assert read_predictions(path).class_names == {2: "cat"}


def test_annotations_without_a_class_are_compared_as_results_without_one_are(tmp_path):
    path = save(tmp_path, {"image_id": 4, "segmentation": POLYGON})
    found, truth = read_predictions(path), Annotations(path, {}, {5: "one", 6: "another"})
    only = replace(truth, categories={5: "one"})
    assert found.aligned(only).instance(0, found.entries[0], SIZE).category == 5
    assert found.aligned(truth).comparable(truth).categories == {1: "any class"}


@pytest.mark.parametrize("read", [read_predictions, read_annotations])
@pytest.mark.parametrize("crowd", ["0", "false", 2, [0]])
def test_what_does_not_say_whether_it_is_a_crowd_is_refused(tmp_path, read, crowd):
    path = save(tmp_path, {**ALL, "segmentation": POLYGON, "iscrowd": crowd})
    with pytest.raises(FormatError, match=r"annotations\[0\]: 'iscrowd' must be 0 or 1, got"):
        read(path)


@pytest.mark.parametrize("segmentation", [POLYGON, BEFORE, UNCOMPRESSED], ids=["polygon", "rle", "uncompressed"])
def test_a_changed_mask_has_the_form_it_had_and_all_else_stays(tmp_path, segmentation):
    path = save(tmp_path, {**ALL, "segmentation": segmentation}, {**ALL, "segmentation": segmentation})
    (kept, changed), notes = rewrite(path, None, box(6, 5, 21, 22))
    assert kept == {**ALL, "segmentation": segmentation}
    assert type(changed["segmentation"]) is type(segmentation)
    if isinstance(segmentation, dict):
        assert type(changed["segmentation"]["counts"]) is type(segmentation["counts"])
    assert rle.from_segmentation(changed["segmentation"], SIZE) == rle.encode(box(6, 5, 21, 22))
    assert {**changed, "segmentation": 0} == {**ALL, "bbox": [6, 5, 15, 17], "area": 255, "segmentation": 0}
    assert list(changed) == [*ALL, "segmentation"]
    assert notes == ()


def test_area_and_box_are_not_added(tmp_path):
    (changed,), _ = rewrite(save(tmp_path, {"image_id": 4, "segmentation": POLYGON}), box(6, 5, 21, 22))
    assert changed.keys() == {"image_id", "segmentation"}


def test_all_but_changed_annotations_comes_back_byte_for_byte(tmp_path):
    path = save(tmp_path, {**ALL, "segmentation": POLYGON}, {**ALL, "id": 8, "segmentation": BEFORE}, info="\u00fc")
    text = path.read_text().replace("1.5", "1.50e0").replace("5.0", "5.000")
    path.write_text(text)
    rewrite(path, None, box(5, 5, 20, 20))
    assert path.with_name("out.json").read_text() == text
    rewrite(path, None, box(5, 5, 20, 21))
    start = text.index('"id": 8') - 10
    assert path.with_name("out.json").read_text()[:start] == text[:start]
    assert path.with_name("out.json").read_text().endswith(text[text.index('   ],\n   "categories') :])


def test_crowds_and_boxes_are_left_alone_and_counted(tmp_path):
    crowd, boxes = {**ALL, "iscrowd": 1, "segmentation": UNCOMPRESSED}, [ALL, {**ALL, "segmentation": []}]
    path = save(tmp_path, crowd, *boxes, {**ALL, "segmentation": POLYGON})
    (note,) = read_coco_annotations(path, Reading()).notes
    assert re.fullmatch(r"left as they are: 1 crowd region \(.*crowds=true.*\) and 2 annotations without a mask", note)
    with_crowds = read_predictions(path, crowds=True)
    assert with_crowds.notes == ("left as they are: 2 annotations without a mask",)
    assert [entry["annotation"] for entry in with_crowds.entries] == [0, 3]
    after, _ = rewrite(path, box(6, 5, 21, 22))
    assert after[:3] == [crowd, *boxes]
    assert after[3]["bbox"] == [6, 5, 15, 17]


def test_holes_of_polygons_are_filled_and_said(tmp_path):
    hollow = box(5, 5, 21, 20) & ~box(8, 8, 10, 10)
    path = save(tmp_path, {**ALL, "segmentation": POLYGON}, {**ALL, "segmentation": BEFORE})
    (filled, kept), (holes, lost) = rewrite(path, hollow, hollow)
    assert (filled["area"], kept["area"]) == (240, 236)
    assert holes == "1 hole in 1 mask filled, since polygons cannot hold them"
    assert lost == "IoU lost by writing 1 mask as polygons: mean 0.0167, worst 0.0167 (annotations[0])"


def test_a_polygon_that_differs_by_a_hole_alone_stays_as_it_came(tmp_path):
    path = save(tmp_path, {**ALL, "segmentation": POLYGON})
    (kept,), notes = rewrite(path, box(5, 5, 20, 20) & ~box(8, 8, 10, 10))
    assert kept == {**ALL, "segmentation": POLYGON}
    assert len(notes) == 2


def test_parts_become_polygons(tmp_path):
    (changed,), _ = rewrite(save(tmp_path, {**ALL, "segmentation": POLYGON}), box(1, 1, 4, 4) | box(20, 20, 50, 40))
    assert len(changed["segmentation"]) == 2


def test_a_tolerance_thins_polygons_and_what_it_costs_is_said(tmp_path):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (rows - 20) ** 2 + (columns - 25) ** 2 <= 15**2
    path = save(tmp_path, {**ALL, "segmentation": POLYGON})
    (exact,), (*nothing,) = rewrite(path, disc)
    (thinned,), (note,) = rewrite(path, disc, tolerance=1.0)
    assert nothing == []
    assert len(thinned["segmentation"][0]) < len(exact["segmentation"][0]) / 2
    assert note.startswith("IoU lost by writing 1 mask as polygons: mean 0.0")


def test_a_folder_beside_the_file_makes_it_no_panoptic_one(tmp_path):
    path = save(tmp_path, {**ALL, "segmentation": POLYGON})
    path.with_suffix("").mkdir()
    assert read_predictions(path).format.name == "coco_annotations"


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (7, r"annotations\[0\]: expected an object, got int"),
        ({"segmentation": POLYGON}, r"annotations\[0\]: 'image_id' is missing"),
        ({**ALL, "image_id": 5}, r"annotations\[0\]: image_id 5 is not among the 1 images of this file"),
        ({**ALL, "category_id": "cat"}, r"annotations\[0\]: 'category_id' must be int"),
        ({**ALL, "score": "high"}, r"annotations\[0\]: 'score' must be"),
        (
            {**ALL, "segmentation": [[1, 2, 3, 4]]},
            r"annotations\[0\]: segmentation: a polygon needs three points or more, got 2",
        ),
        (
            {**ALL, "segmentation": {"size": [1, 1], "counts": [1]}},
            r"annotations\[0\]: segmentation: the RLE is \(1, 1\)",
        ),
        ({"image_id": 4, "segments_info": []}, "PNGs must be in a folder labels beside it"),
    ],
)
def test_errors_name_file_and_annotation(tmp_path, annotation, message):
    with pytest.raises(FormatError, match=rf"labels\.json, {message}" if message[0] == "a" else message):
        read_coco_annotations(save(tmp_path, annotation), Reading())


@pytest.mark.parametrize("content", ["{}", '{"images": []}', '{"annotations": {}, "images": []}', "[]"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(FormatError, match=r"labels\.json: expected a COCO annotation file"):
        read_predictions(tmp_path / "labels.json", "coco_annotations")


def test_an_image_without_size_is_named(tmp_path):
    path = save(tmp_path, images=[{"id": 4, "file_name": "a.jpg"}])
    with pytest.raises(FormatError, match=r"images\[0\]: 'height' is missing"):
        read_coco_annotations(path, Reading())


def test_other_encodings_are_refused_before_any_work(tmp_path):
    path = save(tmp_path)
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(FormatError, match="save it as UTF-8"):
        read_predictions(path, "coco_annotations")


@pytest.mark.parametrize(("image_id", "listed"), [("7", 7), (7, "7"), (7.0, "7"), (7.0, 7)])
def test_ids_may_be_text_on_one_side(tmp_path, image_id, listed):
    path = save(tmp_path, {**ALL, "image_id": image_id, "segmentation": POLYGON})
    content = json.loads(path.read_text())
    content["images"][0]["id"] = listed
    path.write_text(json.dumps(content))
    (entry,) = read_coco_annotations(path, Reading()).entries
    assert entry["image_id"] == listed
    everywhere = {**entry, "segmentation": rle.encode(np.ones(entry["segmentation"]["size"], bool))}
    write_coco_annotations(tmp_path / "out.json", [everywhere], path)
    assert json.loads((tmp_path / "out.json").read_text())["annotations"][0]["image_id"] == image_id
