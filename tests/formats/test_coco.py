import gzip
import json

import numpy as np
import pytest

from bpr import rle
from bpr.formats import coco
from bpr.formats.errors import FormatError
from bpr.formats.predictions import prediction_format
from bpr.structures import ClassCoverage

IMAGE = {"id": 1, "file_name": "a.jpg", "height": 5, "width": 6}
SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_annotations_of_all_three_encodings_become_the_same_rle(tmp_path):
    mask = rle.decode(rle.from_segmentation(SQUARE, (5, 6)))
    code = rle.encode(mask)
    uncompressed = {"size": [5, 6], "counts": rle.counts_of(code).tolist()}
    entries = [{"image_id": 1, "category_id": 3, "segmentation": s} for s in (SQUARE, uncompressed, code)]
    entries[1]["iscrowd"] = 1
    read = coco.read_annotations(write(tmp_path / "a.json", {"images": [IMAGE], "annotations": entries}))
    truths = read.images[1].truths
    assert [t.rle for t in truths] == [code] * 3
    assert [t.crowd for t in truths] == [False, True, False]
    assert read.has_truths


def test_a_file_that_only_lists_images_has_no_truths(tmp_path):
    assert not coco.read_annotations(write(tmp_path / "a.json", {"images": [IMAGE]})).has_truths


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "expected a COCO annotation file"),
        ({"images": [{"id": 1}]}, r"images\[0\]: 'height' is missing"),
        ({"images": [IMAGE, IMAGE]}, r"images\[1\]: image id 1 occurs twice"),
        ({"images": [{**IMAGE, "width": 0}]}, "'width' must be at least 1 px"),
        ({"images": [IMAGE], "annotations": [{"image_id": 2}]}, r"annotations\[0\]: image_id 2 is not among"),
        (
            {"images": [IMAGE], "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[1, 2]]}]},
            r"annotations\[0\]: segmentation: a polygon",
        ),
    ],
)
def test_errors_in_annotations_name_file_and_entry(tmp_path, content, message):
    path = write(tmp_path / "broken.json", content)
    with pytest.raises(FormatError, match=message) as error:
        coco.read_annotations(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"category_id": 1, "score": 1.0}, "entry 0: 'image_id' is missing"),
        ({"image_id": 1, "category_id": "x", "score": 1.0}, "'category_id' must be int, got 'x'"),
        ({"image_id": 1, "category_id": 1, "score": float("nan"), "segmentation": []}, "finite"),
        ({"image_id": 1, "category_id": 1, "score": True, "segmentation": []}, "'score' must be"),
        ({"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}, "box results"),
        (7, "expected an object, got int"),
    ],
)
def test_errors_in_results_name_file_and_entry(tmp_path, entry, message):
    with pytest.raises(FormatError, match=message):
        coco.read_results(write(tmp_path / "r.json", [entry]))


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
    assert refined["area"] == 12.0
    assert (refined["extra"], refined["score"]) == ({"a": [1]}, 0.5)
    assert list(refined) == list(entry)
    assert entry["bbox"] == [0, 0, 1, 1]
    assert list(coco.refined_entry({"image_id": 1, "segmentation": SQUARE}, rle.encode(mask))) == [
        "image_id",
        "segmentation",
    ]


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
        annotations = coco.read_annotations(folder / "instances.json")
        for number, entry in enumerate(coco.read_results(folder / "coarse_yolov5n_seg.json")):
            size = annotations.images[entry["image_id"]].size
            assert coco.result_rle(folder, number, entry, size)["size"] == list(size)


def test_lvis_images_are_named_by_their_url(tmp_path):
    image = {key: value for key, value in IMAGE.items() if key != "file_name"}
    image |= {"coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg", "neg_category_ids": [1]}
    read = coco.read_annotations(write(tmp_path / "a.json", {"images": [image]}))
    assert next(iter(read.images.values())).file_name == "val2017/000000397133.jpg"


def test_lvis_says_which_classes_were_looked_for(tmp_path):
    image = {**IMAGE, "neg_category_ids": [3, 5], "not_exhaustive_category_ids": [7]}
    read = coco.read_annotations(write(tmp_path / "a.json", {"images": [image]}))
    assert read.images[1].coverage == ClassCoverage(frozenset({3, 5}), frozenset({7}))
    assert coco.read_annotations(write(tmp_path / "b.json", {"images": [IMAGE]})).images[1].coverage is None
    with pytest.raises(FormatError, match=r"images\[0\]: 'neg_category_ids' must be a list of category ids"):
        coco.read_annotations(write(tmp_path / "c.json", {"images": [{**image, "neg_category_ids": ["x"]}]}))


def test_gzipped_results_are_results_too(tmp_path):
    entries = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": SQUARE}]
    path = tmp_path / "r.json.gz"
    coco.write_results(path, entries)
    assert gzip.decompress(path.read_bytes()).startswith(b"[")
    assert coco.read_results(path) == entries
    assert prediction_format(path).name == "coco"


@pytest.mark.parametrize("depth", [100_000])
def test_json_that_is_nested_too_deeply_is_an_error(tmp_path, depth):
    path = write(tmp_path / "deep.json", "[" * depth)
    for read in (coco.read_results, coco.read_annotations):
        with pytest.raises(FormatError, match=r"deep\.json: is not JSON"):
            read(path)
