import json

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.panoptic import is_panoptic, read_ids, read_panoptic, write_panoptic

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
    entries = read_panoptic(panoptic)
    assert [(e["segment"], e["score"], e["file_name"]) for e in entries] == [
        (1000, 0.9, "a.jpg"),
        (70000, 1.0, "a.jpg"),
    ]
    assert [rle.bounding_box(e["segmentation"]) for e in entries] == [(5, 5, 15, 15), (15, 5, 25, 15)]


def test_a_results_file_beside_a_folder_is_none(panoptic):
    panoptic.write_text("[]")
    assert not is_panoptic(panoptic)


def test_what_was_read_is_written(panoptic, tmp_path):
    write_panoptic(tmp_path / "out.json", read_panoptic(panoptic), panoptic)
    assert np.array_equal(read_ids(tmp_path / "out" / "a.png"), read_ids(panoptic.with_suffix("") / "a.png"))
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(panoptic.read_text())


def test_refined_things_take_and_leave_pixels(panoptic, tmp_path):
    first, second = read_panoptic(panoptic)
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
    entries = [{**entry, "segmentation": everywhere} for entry in read_panoptic(panoptic)]
    write_panoptic(tmp_path / "out.json", entries, panoptic)
    ids = read_ids(tmp_path / "out" / "a.png")
    assert (ids[5:15, 5:15] == 1000).all()
    assert (ids[5:15, 15:25] == 70000).all()
    assert ids[19, 39] == 70000  # new to both: the higher score


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("categories"), "categories: must list 'id' and 'isthing'"),
        (lambda c: c["annotations"][0].pop("file_name"), r"annotations\[0\]: 'file_name' is missing"),
        (lambda c: c["annotations"][0]["segments_info"][1].update(id=5), r"annotations\[0\]: segment 5 has no pixel"),
        (lambda c: c["annotations"][0].update(file_name="b.png"), r"b\.png: cannot be decoded"),
    ],
)
def test_what_is_wrong_is_named(panoptic, spoil, message):
    content = json.loads(panoptic.read_text())
    spoil(content)
    panoptic.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        read_panoptic(panoptic)
