import gzip
import json

import numpy as np
import pytest

from bpr import rle
from bpr.formats import coco
from bpr.formats.annotations import read_annotations, segmentation_rle
from bpr.formats.errors import FormatError
from bpr.formats.format_detection import prediction_format
from bpr.formats.prediction_format import Reading
from bpr.formats.predictions import read_predictions

IMAGE = {"id": 1, "file_name": "a.jpg", "height": 5, "width": 6}
SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]
LINES = [
    {"image_id": n, "category_id": 1, "score": 0.5, "segmentation": {"size": [1, 1], "counts": "1"}} for n in (3, 1)
]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"category_id": 1, "score": 1.0}, "entry 0: 'image_id' is missing"),
        ({"image_id": 1, "category_id": "x", "score": 1.0}, "'category_id' must be int, got 'x'"),
        ({"image_id": 1.5, "category_id": 1, "score": 1.0}, "'image_id' must be int or str, got 1.5"),
        ({"image_id": 1, "category_id": 1.5, "score": 1.0}, "'category_id' must be int, got 1.5"),
        ({"image_id": 1, "category_id": 1, "score": float("nan"), "segmentation": []}, "finite"),
        ({"image_id": 1, "category_id": 1, "score": True, "segmentation": []}, "'score' must be"),
        ({"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}, "box results"),
        (7, "expected an object, got int"),
    ],
)
def test_errors_in_results_name_file_and_entry(tmp_path, entry, message):
    with pytest.raises(FormatError, match=message):
        coco.read_results(write(tmp_path / "r.json", [entry]))


@pytest.mark.parametrize("form", [coco.FORMAT, coco.JSON_LINES])
def test_it_is_said_what_is_assumed_where_fields_are_missing(tmp_path, form):
    entries = [{"image_id": n, "category_id": 1.0, "score": 1, "segmentation": SQUARE} for n in ("a", 1.0, 2)]
    form.write(tmp_path / "r", entries, tmp_path)
    content = form.read(tmp_path / "r", Reading())
    assert len(content.entries) == 3
    assert list(content.notes) == []
    del entries[0]["score"], entries[1]["category_id"]
    entries[1]["score"] = None
    form.write(tmp_path / "r", entries, tmp_path)
    content = form.read(tmp_path / "r", Reading())
    assert list(content.entries) == entries
    assert list(content.notes) == [
        "1 prediction has no category_id: taken as one class",
        "2 predictions have no score: taken as 1",
    ]


def test_an_annotation_file_given_as_results_is_recognised(tmp_path):
    with pytest.raises(FormatError, match="looks like an annotation file"):
        coco.read_results(write(tmp_path / "r.json", {"images": []}))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"nowhere\.json: cannot be read"):
        coco.read_results(tmp_path / "nowhere.json")


def test_refined_entries_keep_every_field_and_update_box_and_area():
    mask = np.zeros((5, 6), bool)
    mask[1:4, 2:6] = True
    entry = {"image_id": 1, "segmentation": SQUARE, "bbox": [0, 0, 1, 1], "area": 1, "extra": {"a": [1]}, "score": 0.5}
    refined = coco.refined_entry(entry, rle.encode(mask))
    assert refined["bbox"] == [2.0, 1.0, 4.0, 3.0]
    assert repr(refined["area"]) == "12"
    assert repr(coco.refined_entry({**entry, "area": 1.5}, rle.encode(mask))["area"]) == "12.0"
    assert (refined["extra"], refined["score"]) == ({"a": [1]}, 0.5)
    assert list(refined) == list(entry)
    assert entry["bbox"] == [0, 0, 1, 1]
    assert list(coco.refined_entry({"image_id": 1, "segmentation": SQUARE}, rle.encode(mask))) == [
        "image_id",
        "segmentation",
    ]


@pytest.mark.parametrize("further", [{}, {"note": "kept"}])
def test_uncompressed_masks_stay_uncompressed(further):
    mask = np.zeros((5, 6), bool)
    mask[1:4, 2:6] = True
    given = {"size": [5, 6], "counts": [30], **further}
    refined = coco.refined_entry({"image_id": 1, "segmentation": given}, rle.encode(mask))
    assert refined["segmentation"] == {"size": [5, 6], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 1], **further}


def test_polygons_become_compressed_masks():
    code = rle.encode(np.ones((5, 6), bool))
    refined = coco.refined_entry({"image_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5]]}, code)
    assert refined["segmentation"] == code


def test_results_survive_writing_and_reading(tmp_path):
    entries = [{"image_id": i, "category_id": 1, "score": 0.1 * i, "segmentation": SQUARE, "é": "ü"} for i in range(3)]
    coco.write_results(tmp_path / "new" / "r.json", entries)
    assert coco.read_results(tmp_path / "new" / "r.json") == entries
    coco.write_results(tmp_path / "empty.json", [])
    assert coco.read_results(tmp_path / "empty.json") == []


def test_a_failed_write_leaves_the_older_file_whole(tmp_path):
    coco.write_results(tmp_path / "r.json", [])
    with pytest.raises(TypeError):
        coco.write_results(tmp_path / "r.json", [{"a": object()}])
    assert coco.read_results(tmp_path / "r.json") == []


def test_real_files_are_read(shared_dir):
    for name in ("coco_val", "pedestrians_train"):
        folder = shared_dir / "data" / name
        annotations = read_annotations(folder / "instances.json")
        for entry in coco.read_results(folder / "coarse_yolov5n_seg.json"):
            size = annotations.images[entry["image_id"]].size
            assert segmentation_rle(folder, "", entry, size)["size"] == list(size)


def test_gzipped_results_are_results_too(tmp_path):
    entries = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": SQUARE}]
    path = tmp_path / "r.json.gz"
    coco.write_results(path, entries)
    assert gzip.decompress(path.read_bytes()).startswith(b"[")
    again = tmp_path / "again.json.gz"
    coco.write_results(again, entries)
    assert again.read_bytes() == path.read_bytes(), "the file holds neither its name nor the time"
    assert path.read_bytes()[4:8] == bytes(4)
    assert coco.read_results(path) == entries
    assert prediction_format(path).name == "coco"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_entries_round_trip_in_order(tmp_path, name):
    path = tmp_path / name
    coco.write_json_lines(path, LINES)
    assert list(read_predictions(path, "jsonl").entries) == LINES
    assert coco.is_json_lines(path)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")


def test_a_results_file_is_no_json_lines_file(tmp_path):
    path = tmp_path / "a.json"
    for content in (LINES, {"images": [], "annotations": []}):
        path.write_text(json.dumps(content, indent=1))
        assert not coco.is_json_lines(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image_id": 1', "line 1: is not JSON"),
        ('\n{"image_id": 1}', "line 2: 'segmentation' is missing"),
        ("[1]", "line 1: expected an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(FormatError, match=message):
        list(read_predictions(path, "jsonl").entries)


def test_a_file_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(LINES[0]).encode())[:-12])
    with pytest.raises(FormatError, match=r"a\.jsonl\.gz: cannot be read"):
        list(read_predictions(path, "jsonl").entries)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in LINES), encoding="utf-8-sig")
    assert list(read_predictions(path, "jsonl").entries) == LINES
