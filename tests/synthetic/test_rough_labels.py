import json
import re

import numpy as np
import pytest

from bpr import rle
from bpr.formats.coco_annotations import read_coco_annotations
from bpr.formats.prediction_format import Reading
from bpr.synthetic.rough_labels import main, roughened

SIZE = (100, 120)
CIRCLE = [
    round(v, 2)
    for t in np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for v in (60 + 30 * np.cos(t), 50 + 30 * np.sin(t))
]


@pytest.fixture
def labels(tmp_path):
    code = rle.from_segmentation([CIRCLE], SIZE)
    kept = {"image_id": 1, "category_id": 2, "attributes": {"x": 1.50}}
    annotations = [
        {
            "id": 1,
            **kept,
            "iscrowd": 0,
            "segmentation": [CIRCLE, [0, 0, 20, 0, 20, 20]],
            "bbox": [0, 0, 1, 1],
            "area": 1.0,
        },
        {"id": 2, **kept, "iscrowd": 1, "segmentation": code},
        {"id": 3, **kept, "segmentation": code},
        {"id": 4, **kept, "segmentation": []},
    ]
    images = [{"id": 1, "width": SIZE[1], "height": SIZE[0], "file_name": "a.jpg"}]
    (tmp_path / "labels.json").write_text(json.dumps({"info": 1.50, "images": images, "annotations": annotations}))
    return tmp_path / "labels.json"


def test_a_polygon_has_fewer_vertices_near_where_they_were():
    rough = np.reshape(roughened(CIRCLE, SIZE, 2.0, 0.0, np.random.default_rng(0)), (-1, 2))
    assert 3 <= len(rough) < 30
    assert {tuple(one) for one in rough} <= {tuple(one) for one in np.reshape(CIRCLE, (-1, 2))}
    shaken = np.reshape(roughened(CIRCLE, SIZE, 2.0, 3.0, np.random.default_rng(0)), (-1, 2))
    assert 1 < np.abs(shaken - rough).mean() < 4
    corner = roughened([0, 0, 9, 0, 9, 9], SIZE, 50.0, 5.0, np.random.default_rng(0))
    assert len(corner) == 6
    assert min(corner) >= 0


def test_objects_become_rough_polygons_and_their_boxes_follow(labels, tmp_path, capsys):
    assert main([str(labels), str(tmp_path / "rough.json")]) == 0
    before, after = (json.loads(path.read_text()) for path in (labels, tmp_path / "rough.json"))
    assert before["annotations"][1::2] == after["annotations"][1::2]  # a crowd region, and one without a mask
    assert isinstance(after["annotations"][2]["segmentation"][0], list)
    assert len(after["annotations"][0]["segmentation"]) == 2
    first, _ = read_coco_annotations(tmp_path / "rough.json", Reading()).entries
    assert after["annotations"][0]["area"] == rle.area(first["segmentation"])
    overlap = rle.iou([first["segmentation"]], [read_coco_annotations(labels, Reading()).entries[0]["segmentation"]])[
        0, 0
    ]
    assert 0.6 < overlap < 0.97
    assert re.search(r"2 objects with rough polygons, mean IoU [6-9]\d\.\d\n$", capsys.readouterr().out)


def test_the_seed_decides_and_nothing_is_written_over(labels, tmp_path, capsys):
    rough = tmp_path / "rough.json"
    texts = []
    for seed in ("0", "0", "1"):
        assert main([str(labels), str(rough), "--seed", seed, "--overwrite"]) == 0
        texts.append(rough.read_text())
    assert texts[0] == texts[1] != texts[2]
    assert main([str(labels), str(rough)]) == 2
    assert main([str(labels), str(labels), "--overwrite"]) == 2
    assert main([str(labels), str(rough), "--shake", "-1", "--overwrite"]) == 2
    assert "must be at least 0, got 0.06 and -1.0" in capsys.readouterr().err
