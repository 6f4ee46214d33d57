import gzip
import json

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.format_detection import prediction_format
from bpr.formats.predictions import read_predictions

ENTRY = {"image_id": 1, "category_id": 1, "score": 1, "segmentation": rle.encode(np.ones((2, 3), bool))}
LABELME = {"version": "6", "shapes": [], "imagePath": "a.jpg"}
ANNOTATIONS = {"images": [], "annotations": []}


def save_mask(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)


def test_the_content_decides(tmp_path):
    (tmp_path / "results").write_text(json.dumps([ENTRY]))
    (tmp_path / "lines").write_text(json.dumps(ENTRY) + "\n" + json.dumps(ENTRY) + "\n")
    (tmp_path / "annotations").write_text(json.dumps({"images": []}))
    for name in ("city", "masks"):
        save_mask(tmp_path / name / "a.png")
    (tmp_path / "city" / "a_000000_000000_pred.txt").write_text("")
    expected = {
        "results": "coco",
        "lines": "jsonl",
        "annotations": "coco_annotations",
        "city": "cityscapes",
        "masks": "masks",
    }
    assert {name: prediction_format(tmp_path / name).name for name in expected} == expected
    assert prediction_format(tmp_path / "city", "masks").name == "masks"


@pytest.mark.parametrize("name", ["README.txt", "index.txt", "._a_000000_000000_pred.txt"])
def test_a_stray_text_file_does_not_turn_masks_into_cityscapes(tmp_path, name):
    save_mask(tmp_path / "a.png")
    (tmp_path / name).write_text("about these masks")
    assert prediction_format(tmp_path).name == "masks"


def test_hidden_files_make_no_format(tmp_path):
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16")
    with pytest.raises(FormatError, match="is in no known format"):
        prediction_format(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
@pytest.mark.parametrize("name", [None, "masks"])
def test_jpeg_masks_are_refused_with_the_reason_and_the_remedy(tmp_path, suffix, name):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / f"a_1{suffix}", format="JPEG")
    with pytest.raises(FormatError, match=rf", a_1{suffix}: JPEG masks are not read, .*; save the masks as PNG"):
        read_predictions(tmp_path, name, lambda: {"a"})


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        (".", "xml", "format=xml is not known; there are coco"),
        ("nowhere", None, "no such file or folder"),
        (".", None, r"is in no known format; taken are .*YOLO labels \(\.txt\).*format=NAME"),
    ],
)
def test_what_is_no_format_is_refused(tmp_path, path, name, message):
    with pytest.raises(FormatError, match=message):
        prediction_format(tmp_path / path, name)


@pytest.mark.parametrize("content", [b"hello", b"\xff\xd8\xff", b"<a/>", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_refused_with_what_is_taken(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FormatError, match=r"x: is in no known format; taken are COCO results \(\.json, \.jsonl\)"):
        read_predictions(tmp_path / "x")


@pytest.mark.parametrize("content", ["{}", '{"a": 1}', '{"predictions": [], "categories": []}', "\ufeff{}"])
def test_an_object_of_another_kind_is_refused_with_what_is_taken(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(
        FormatError, match=r"x\.json: is in no known format; taken are COCO results \(\.json, \.jsonl\)"
    ):
        read_predictions(tmp_path / "x.json")


@pytest.mark.parametrize("content", ['{"a": 1', '{"annotations": [', '{"categories": [], "images'])
def test_an_object_that_is_cut_off_is_said_to_be_no_json(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(FormatError, match=r"x\.json: is not JSON .*was it cut off"):
        read_predictions(tmp_path / "x.json")


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [("coco", [ENTRY]), ("coco_annotations", ANNOTATIONS), ("labelme", LABELME), ("sam", {"image": {}})],
)
def test_a_gzipped_file_is_told_by_its_content(tmp_path, name, content):
    (tmp_path / "x").write_bytes(gzip.compress(json.dumps(content).encode()))
    assert prediction_format(tmp_path / "x").name == name


def test_a_gzipped_file_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(json.dumps(ANNOTATIONS).encode())[:-12])
    with pytest.raises(FormatError, match=r"x\.json\.gz: cannot be read .*whether it is whole"):
        prediction_format(tmp_path / "x.json.gz")


def test_the_list_of_sams_mask_generator_is_no_coco_result(tmp_path):
    mask = {"segmentation": ENTRY["segmentation"], "predicted_iou": 0.9}
    assert prediction_format(save(tmp_path / "a.json", [mask])).name == "sam"
    assert prediction_format(save(tmp_path / "b.json", [{**ENTRY, **mask}])).name == "coco"
    assert prediction_format(save(tmp_path / "c.json", [{"segmentation": 1}])).name == "coco"


@pytest.mark.parametrize(("file", "content"), [("b.json", LABELME), ("b.json", {"image": {}})])
def test_a_folder_with_yolo_labels_and_other_labels_is_refused(tmp_path, file, content):
    save(tmp_path / "labels" / "a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    save(tmp_path / file, content)
    other = "labelme" if content is LABELME else "sam"
    with pytest.raises(FormatError, match=rf"has files of yolo and of {other}; .*format=yolo or format={other}"):
        prediction_format(tmp_path)
    assert prediction_format(tmp_path, "yolo").name == "yolo"


@pytest.mark.parametrize("file", ["annotations/instances_default.json", "train/_annotations.coco.json"])
def test_a_folder_with_coco_annotations_names_them(tmp_path, file):
    save_mask(tmp_path / "images" / "a.png")  # which would be taken for a mask
    save(tmp_path / file, ANNOTATIONS)
    with pytest.raises(FormatError, match=rf"is a folder with COCO annotations \({file}\); .*predictions=.*{file}"):
        prediction_format(tmp_path)
