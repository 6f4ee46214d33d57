import json

import numpy as np
import pytest

from bpr import rle
from bpr.formats.coco import refined_entry
from bpr.formats.errors import FormatError
from bpr.formats.prediction_format import Reading
from bpr.formats.predictions import read_predictions
from bpr.formats.sam import read_sam, write_sam

SIZE = (60, 80)


def box(x1, y1, x2, y2):
    mask = np.zeros(SIZE, np.bool_)
    mask[y1:y2, x1:x2] = True
    return rle.encode(mask)


CODE = box(5, 5, 20, 20)
RUNS = {**CODE, "counts": rle.uncompressed_counts(CODE)}
IMAGE = {"image_id": 3, "height": 60, "width": 80, "file_name": "sa_3.jpg"}
ANNOTATION = {
    "bbox": [0, 0, 1, 1],
    "area": 9,
    "segmentation": CODE,
    "predicted_iou": 0.875,
    "point_coords": [[1.5, 2.5]],
    "crop_box": [0, 0, 80, 60],
    "id": 17,
    "stability_score": 0.96,
}


def save(path, *annotations, image=IMAGE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"image": image, "annotations": annotations}, indent=1))
    return path


def read(path, *names):
    return read_sam(path, Reading(lambda: dict.fromkeys(names or ["sa_3"], SIZE)))


def test_a_mask_becomes_an_entry(tmp_path):
    (entry,) = read(save(tmp_path / "x.json", ANNOTATION)).entries
    expected = {"image_id": "sa_3", "category_id": 1, "score": 0.875, "segmentation": CODE}
    assert entry == {**expected, "image_suffix": ".jpg", "mask_file": "x.json", "annotation": 0}


@pytest.mark.parametrize("segmentation", [CODE, RUNS], ids=["compressed", "uncompressed"])
def test_a_changed_mask_has_the_form_it_had_and_all_else_stays(tmp_path, segmentation):
    path = save(tmp_path / "x.json", {**ANNOTATION, "segmentation": segmentation}, ANNOTATION)
    first, second = read(path).entries
    write_sam(tmp_path / "out.json", [refined_entry(first, box(6, 5, 21, 22)), second], path)
    changed, kept = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert kept == ANNOTATION
    assert list(changed) == list(ANNOTATION)
    assert rle.from_segmentation(changed["segmentation"], SIZE) == box(6, 5, 21, 22)
    assert type(changed["segmentation"]["counts"]) is type(segmentation["counts"])
    assert {**changed, "segmentation": 0} == {**ANNOTATION, "bbox": [6, 5, 15, 17], "area": 255, "segmentation": 0}
    write_sam(tmp_path / "out.json", [first, second], path)
    assert (tmp_path / "out.json").read_bytes() == path.read_bytes()


def test_a_folder_comes_back_with_all_its_json_files(tmp_path):
    folder = tmp_path / "in"
    save(folder / "x" / "sa_3.json", ANNOTATION)
    save(folder / "sa_4.json")
    (folder / "sa_3.jpg").write_text("x")
    (folder / "other.json").write_text("{}")
    predictions = read_predictions(folder, image_sizes=lambda: {"sa_3": SIZE})
    assert predictions.format.name == "sam"
    assert predictions.place(0) == (folder / "x" / "sa_3.json", "annotations[0]")
    predictions.write(tmp_path / "out", predictions.entries)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"x/sa_3.json", "sa_4.json", "other.json"}


def test_one_file_comes_back_as_one_whatever_comes_first_and_is_beside_it(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"annotations": [ANNOTATION], "image": IMAGE}))
    path.with_suffix("").mkdir()
    predictions = read_predictions(path, image_sizes=lambda: {"sa_3": SIZE})
    assert (predictions.format.name, predictions.format.suffix) == ("sam", ".json")
    assert predictions.place(0) == (path, "annotations[0]")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (3, "expected an object, got int"),
        ({"id": 3}, "'segmentation' is missing"),
        ({**ANNOTATION, "segmentation": [[1, 2, 3, 4, 5, 6]]}, "'segmentation' must be dict"),
        ({**ANNOTATION, "segmentation": {"size": [*SIZE]}}, "'counts' is missing"),
        ({**ANNOTATION, "segmentation": {"size": [80, 60], "counts": [4800]}}, r"segmentation: the RLE is \(80, 60\)"),
        ({**ANNOTATION, "predicted_iou": float("nan")}, "predicted_iou must be a finite number"),
    ],
)
def test_errors_name_file_and_annotation(tmp_path, annotation, message):
    with pytest.raises(FormatError, match=rf"x\.json, annotations\[1\]: {message}"):
        read(save(tmp_path / "x.json", ANNOTATION, annotation))


@pytest.mark.parametrize("image", [{}, {**IMAGE, "height": "60"}, {**IMAGE, "file_name": None}])
def test_images_are_checked(tmp_path, image):
    with pytest.raises(FormatError, match=r"x\.json, image: '(file_name|height)' "):
        read(save(tmp_path / "x.json", ANNOTATION, image=image))


@pytest.mark.parametrize("content", ["[]", "{}", '{"images": [], "annotations": []}', '{"image": {}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(FormatError, match=r"x\.json: is (no file of SAM|not JSON)"):
        read(tmp_path / "x.json")


MASK = {name: ANNOTATION[name] for name in ("segmentation", "area", "bbox", "predicted_iou", "crop_box")}


def test_a_bare_list_is_of_the_image_it_is_named_after(tmp_path):
    (tmp_path / "a.b.json").write_text(json.dumps([MASK, {**MASK, "predicted_iou": 0.5}]))
    entries = read(tmp_path / "a.b.json", "a.b", "a").entries
    assert [(entry["image_id"], entry["score"]) for entry in entries] == [("a.b", 0.875), ("a.b", 0.5)]
    write_sam(tmp_path / "out.json", [entries[0], refined_entry(entries[1], box(6, 5, 21, 22))], tmp_path / "a.b.json")
    kept, changed = json.loads((tmp_path / "out.json").read_text())
    assert kept == MASK
    assert (changed["area"], changed["bbox"]) == (255, [6, 5, 15, 17])


@pytest.mark.parametrize("size", [None, [60], [60.0, 80], [0, 80]])
def test_a_mask_of_a_bare_list_needs_a_size(tmp_path, size):
    (tmp_path / "sa_3.json").write_text(json.dumps([{**MASK, "segmentation": {**CODE, "size": size}}]))
    with pytest.raises(FormatError, match=r"annotations\[0\]: 'size'"):
        read(tmp_path / "sa_3.json")
