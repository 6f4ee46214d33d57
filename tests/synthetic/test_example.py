from pathlib import Path

import cv2
import numpy as np
import pytest

from bpr import rle
from bpr.evaluation.scores import evaluate
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import read_results
from bpr.synthetic import demo
from bpr.synthetic.demo import make_demo
from bpr.synthetic.example import example_photograph, make_tour, read_example
from bpr.synthetic.made_sets import MadeSet


@pytest.fixture
def tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeSet:
    monkeypatch.setattr(demo, "COUNTS", {"train": 1, "val": 1})
    return make_tour(tmp_path)


def test_every_outline_has_few_corners_and_lies_in_its_photograph() -> None:
    example = read_example()
    sizes = {image["id"]: (image["height"], image["width"]) for image in example["images"]}
    for image in example["images"]:
        assert example_photograph(image["file_name"]).shape == (*sizes[image["id"]], 3)
    for outline in example["annotations"]:
        (polygon,) = outline["segmentation"]
        points = np.reshape(polygon, (-1, 2))
        assert 8 <= len(points) <= 25
        assert (points >= 0).all()
        assert (points <= sizes[outline["image_id"]][::-1]).all()
        assert rle.area(rle.from_segmentation(outline["segmentation"], sizes[outline["image_id"]])) > 1000


def test_the_photographs_come_first_and_are_found(tour: MadeSet) -> None:
    names = [image.file_name for image in read_annotations(tour.annotations).images.values()]
    assert names == ["astronaut.png", "coffee.png", "chelsea.png", "val_01.png"]
    for name in names[:3]:
        picture = cv2.imread(str(tour.images / name))
        assert picture is not None
        assert (picture[..., ::-1] == example_photograph(name)).all()
    drawn = [entry["file_name"] for entry in read_results(tour.predictions) if "file_name" in entry]
    assert list(dict.fromkeys(drawn)) == names[:3]
    assert all("file_name" in entry for entry in read_results(tour.predictions)[: len(drawn)])


def test_the_scores_are_those_of_the_scenes_alone(tour: MadeSet, tmp_path: Path) -> None:
    scenes = make_demo(tmp_path)
    alone, among = (evaluate(made.predictions, made.annotations) for made in (scenes, tour))
    assert among.scores == alone.scores
    assert (among.matched, among.unscored) == (alone.matched, alone.unscored + len(read_example()["annotations"]))
    annotations = read_annotations(tour.annotations)
    assert {annotations.categories[entry["category_id"]] for entry in read_results(tour.predictions)} == {
        "person", "space shuttle", "helmet", "cup", "spoon", "saucer", "cat", "pebble", "creature", "ring"
    }  # fmt: skip


def test_a_tour_that_is_there_is_used_again(tour: MadeSet, tmp_path: Path) -> None:
    before = tour.predictions.stat().st_mtime_ns
    assert make_tour(tmp_path) == tour
    assert tour.predictions.stat().st_mtime_ns == before
