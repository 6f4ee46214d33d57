import json

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.panoptic import is_panoptic, read_ids, read_panoptic, write_panoptic
from bpr.formats.prediction_format import Reading

PERSON, SKY = 1, 119


@pytest.fixture
def panoptic(tmp_path):
    """One image: sky, two people side by side (ids above 255 use the second colour), a crowd."""
    ids = np.full((20, 40), 7)
    ids[5:15, 5:15], ids[5:15, 15:25], ids[0:3, 30:40] = 1000, 70000, 9
    folder = tmp_path / "coarse"
    folder.mkdir()
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], 2).astype(np.uint8)).save(folder / "a.png")
    segments = [
        {"id": 7, "category_id": SKY, "area": 570},
        {"id": 1000, "category_id": PERSON, "area": 100, "bbox": [5, 5, 10, 10], "score": 0.9},
        {"id": 70000, "category_id": PERSON, "area": 100, "bbox": [15, 5, 10, 10]},
        {"id": 9, "category_id": PERSON, "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 4, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 4, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": PERSON, "name": "person", "isthing": 1}, {"id": SKY, "name": "sky", "isthing": 0}],
        "note": "kept",
    }
    (tmp_path / "coarse.json").write_text(json.dumps(content))
    return tmp_path / "coarse.json"


def test_things_are_read(panoptic):
    assert is_panoptic(panoptic)
    entries = read_panoptic(panoptic, Reading()).entries
    assert [(e["segment"], e["score"], e["file_name"]) for e in entries] == [
        (1000, 0.9, "a.jpg"),
        (70000, 1.0, "a.jpg"),
    ]
    assert [rle.bounding_box(e["segmentation"]) for e in entries] == [(5, 5, 15, 15), (15, 5, 25, 15)]


def test_images_are_listed_by_the_ids_of_annotations_of_whichever_type(panoptic):
    content = json.loads(panoptic.read_text())
    content["annotations"][0]["image_id"] = "4"
    content["images"].append({"id": 5, "file_name": "b.jpg"})
    panoptic.write_text(json.dumps(content))
    found = read_panoptic(panoptic, Reading())
    assert {entry["file_name"] for entry in found.entries} == {"a.jpg"}
    assert found.listed == ({"4": "a.jpg", 5: "b.jpg"}, {PERSON: "person"})


def test_a_results_file_beside_a_folder_is_none(panoptic):
    panoptic.write_text("[]")
    assert not is_panoptic(panoptic)


def test_what_was_read_is_written(panoptic, tmp_path):
    write_panoptic(tmp_path / "out.json", read_panoptic(panoptic, Reading()).entries, panoptic)
    assert np.array_equal(read_ids(tmp_path / "out" / "a.png"), read_ids(panoptic.with_suffix("") / "a.png"))
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(panoptic.read_text())


def test_refined_things_take_and_leave_pixels(panoptic, tmp_path):
    first, second = read_panoptic(panoptic, Reading()).entries
    grown = np.zeros((20, 40), bool)
    grown[4:16, 4:18] = True
    empty = np.zeros((20, 40), bool)
    write_panoptic(
        tmp_path / "out.json",
        [{**first, "segmentation": rle.encode(grown)}, {**second, "segmentation": rle.encode(empty)}],
        panoptic,
    )
    ids = read_ids(tmp_path / "out" / "a.png")
    assert np.array_equal(ids == 1000, grown)
    assert (ids[5:15, 18:25] == 0).all()  # given up by the second: void
    segments = json.loads((tmp_path / "out.json").read_text())["annotations"][0]["segments_info"]
    assert [segment["id"] for segment in segments] == [7, 1000, 9]
    assert segments[1]["area"] == grown.sum()
    assert segments[1]["bbox"] == [4, 4, 14, 12]


def test_an_overlap_stays_with_its_owner(panoptic, tmp_path):
    everywhere = rle.encode(np.ones((20, 40), bool))
    entries = [{**entry, "segmentation": everywhere} for entry in read_panoptic(panoptic, Reading()).entries]
    write_panoptic(tmp_path / "out.json", entries, panoptic)
    ids = read_ids(tmp_path / "out" / "a.png")
    assert (ids[5:15, 5:15] == 1000).all()
    assert (ids[5:15, 15:25] == 70000).all()
    assert ids[19, 39] == 70000  # new to both: the higher score


def segment(content):
    return content["annotations"][0]["segments_info"][1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("categories"), "categories: must list 'id' and 'isthing'"),
        (lambda c: c["annotations"][0].pop("file_name"), r"annotations\[0\]: 'file_name' is missing"),
        (lambda c: c["annotations"][0]["segments_info"][1].update(id=5), r"annotations\[0\]: segment 5 has no pixel"),
        (lambda c: c["annotations"][0].update(file_name="b.png"), r"b\.png: is missing"),
        (
            lambda c: c["annotations"][0].update(file_name="/tmp/a.png"),
            r"file_name /tmp/a\.png is an absolute path",
        ),
        (lambda c: c["annotations"][0].update(file_name="../a.png"), r"file_name \.\./a\.png leads out of the folder"),
        (lambda c: c["annotations"][0].update(file_name="x/../../a.png"), "leads out of the folder; put the file into"),
        (lambda c: c["annotations"][0].update(file_name=3), r"annotations\[0\]: 'file_name' must be str, got 3"),
        (lambda c: c["annotations"][0].update(image_id=[1]), r"annotations\[0\]: 'image_id' must be int or str"),
        (lambda c: c["annotations"][0].update(segments_info=None), r"annotations\[0\]: 'segments_info' must be list"),
        (lambda c: c["annotations"][0].update(segments_info=[1]), r"annotations\[0\]: expected an object, got int"),
        (lambda c: c["annotations"].append(7), r"annotations\[1\]: expected an object, got int"),
        (
            lambda c: c["annotations"].append(c["annotations"][0]),
            r"\[1\]: file_name a\.png is that of annotations\[0\]",
        ),
        (lambda c: segment(c).update(id="9"), "'id' must be int, got '9'"),
        (lambda c: segment(c).update(id=0), "segment 0 must be an id of 1 to 16777215"),
        (lambda c: segment(c).update(id=70000), "segment 70000 must be an id of .* that occurs once"),
        (lambda c: segment(c).update(category_id={}), "'category_id' must be int, got {}"),
        (lambda c: segment(c).update(category_id=77), "segment 1000 is of category 77, which is not in 'categories'"),
        (lambda c: segment(c).update(score="high"), r"annotations\[0\], segment 1000: 'score' must be int or float"),
        (lambda c: segment(c).update(score=float("nan")), "score must be a finite number"),
        (lambda c: c.update(categories=[1]), r"categories\[0\]: expected an object"),
        (lambda c: c["categories"][0].pop("isthing"), r"categories\[0\]: 'isthing' must be 0 or 1"),
        (lambda c: c.update(images=[{"id": 4, "file_name": 5}]), r"images\[0\]: 'file_name' must be str"),
        (lambda c: c.update(images=[{"id": 4}, {"id": 4}]), r"images\[1\]: image id 4 occurs twice"),
        (lambda c: c.update(images=7), "images: must be a list, got int"),
        (lambda c: c.update(annotations={}), "expected a COCO panoptic file"),
    ],
)
def test_what_is_wrong_is_named(panoptic, spoil, message):
    content = json.loads(panoptic.read_text())
    spoil(content)
    panoptic.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        read_panoptic(panoptic, Reading())


def test_an_output_whose_folder_would_be_that_of_the_input_is_refused(panoptic, tmp_path):
    before = (tmp_path / "coarse" / "a.png").read_bytes()
    with pytest.raises(FormatError, match=r"coarse\.new: would replace the PNGs in .*coarse; give another name"):
        write_panoptic(tmp_path / "coarse.new", [], panoptic)
    assert (tmp_path / "coarse" / "a.png").read_bytes() == before


def test_a_byte_order_mark_does_not_hide_the_format(panoptic):
    panoptic.write_text(panoptic.read_text(), encoding="utf-8-sig")
    assert is_panoptic(panoptic)
    assert len(read_panoptic(panoptic, Reading()).entries) == 2


def test_a_file_without_suffix_has_no_folder(panoptic):
    panoptic.rename(panoptic.with_suffix("").with_name("other"))
    with pytest.raises(FormatError, match=r"other: has no suffix; a panoptic file is NAME\.json"):
        read_panoptic(panoptic.with_name("other"), Reading())
