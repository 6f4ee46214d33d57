import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from bpr import rle
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import read_results
from bpr.formats.json_fields import read_json
from bpr.synthetic import demo
from bpr.synthetic import scene as demo_scene
from bpr.synthetic.demo import make_demo
from bpr.synthetic.made_sets import MadeSet
from bpr.synthetic.scene import MIN_AREA, MIN_CONTRAST, contrasts
from bpr.synthetic.shapes import SHAPES


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> MadeSet:
    return make_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def two_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "COUNTS", {"train": 2, "val": 2})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set ``val`` of two images; read only."""
    root = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "COUNTS", {"train": 2, "val": 2})
        make_demo(root)
    return root


@pytest.fixture
def complete(two_images: None, made: Path, tmp_path: Path) -> Path:
    """A folder with a set ``val`` of two images, for one test."""
    return Path(shutil.copytree(made, tmp_path / "complete"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_have_the_size_that_the_annotations_say(val: MadeSet) -> None:
    images = read_annotations(val.annotations).images

    assert len(images) == 8
    for image in images.values():
        picture = cv2.imread(str(val.images / image.file_name))
        assert picture is not None
        assert picture.shape == (*image.size, 3)


def test_every_image_has_several_visible_objects_that_do_not_overlap(val: MadeSet) -> None:
    for image in read_annotations(val.annotations).images.values():
        masks = [rle.decode(true.rle) for true in image.truths]
        assert 5 <= len(masks) <= 11
        assert min(mask.sum() for mask in masks) >= MIN_AREA
        assert np.sum(masks, axis=0).max() == 1


def test_every_category_occurs(val: MadeSet) -> None:
    annotations = read_annotations(val.annotations)

    found = {true.category for image in annotations.images.values() for true in image.truths}

    assert found == set(annotations.categories) == set(SHAPES)


def test_area_and_bbox_of_an_annotation_are_those_of_its_mask(val: MadeSet) -> None:
    annotations = read_json(val.annotations)["annotations"]

    assert [entry["id"] for entry in annotations] == list(range(1, len(annotations) + 1))
    for entry in annotations:
        rows, columns = np.nonzero(rle.decode(entry["segmentation"]))
        x, y, width, height = entry["bbox"]
        assert entry["area"] == len(rows)
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)


def test_there_is_a_coarse_mask_per_object_and_two_mistakes_per_image(val: MadeSet) -> None:
    truths = {i: len(image.truths) for i, image in read_annotations(val.annotations).images.items()}

    predictions = Counter(entry["image_id"] for entry in read_results(val.predictions))

    assert predictions == {image_id: count + 2 for image_id, count in truths.items()}


def test_coarse_masks_are_neither_perfect_nor_hopeless(val: MadeSet) -> None:
    images = read_annotations(val.annotations).images
    best = []
    for entry in read_results(val.predictions):
        image = images[entry["image_id"]]
        mask = entry["segmentation"]
        best.append(rle.iou([mask], [true.rle for true in image.truths]).max())

    assert 0.7 < np.median(best) < 0.9


def test_coarse_masks_of_small_objects_are_as_good_as_those_of_large_ones(val: MadeSet) -> None:
    images = read_annotations(val.annotations).images
    overlaps: dict[bool, list[float]] = {True: [], False: []}
    for entry in read_results(val.predictions):
        image = images[entry["image_id"]]
        mask = entry["segmentation"]
        overlap = rle.iou([mask], [true.rle for true in image.truths])[0]
        if overlap.max() > 0.3:
            overlaps[rle.area(image.truths[int(overlap.argmax())].rle) < 50**2].append(float(overlap.max()))

    assert min(len(found) for found in overlaps.values()) > 20
    assert abs(np.median(overlaps[True]) - np.median(overlaps[False])) < 0.1


def test_scores_fall_within_each_image_and_lie_in_0_to_1(val: MadeSet) -> None:
    entries = read_results(val.predictions)

    assert entries == sorted(entries, key=lambda entry: (entry["image_id"], -entry["score"]))
    assert all(0 < entry["score"] < 1 for entry in entries)


def test_every_object_stands_out_from_what_is_around_it(val: MadeSet) -> None:
    colours = []
    for image in read_annotations(val.annotations).images.values():
        picture = cv2.imread(str(val.images / image.file_name))
        assert picture is not None
        for true in image.truths:
            body = rle.decode(true.rle)
            around = cv2.dilate(body.view(np.uint8), np.ones((9, 9), np.uint8)) > 0
            inner, outer = picture[body].mean(axis=0), picture[around & ~body].mean(axis=0)
            pair = np.array([[inner, outer]]).astype(np.uint8)
            lab = cv2.cvtColor(pair, cv2.COLOR_BGR2LAB)[0].astype(float)
            colours.append(float(np.linalg.norm(lab[0] - lab[1])))

    # What is painted later changes the surroundings, so that the limit of the composition need not hold at the end.
    assert min(colours) > 10
    assert np.median(colours) > MIN_CONTRAST


def test_contrast_across_the_boundary_sees_a_side_without_any() -> None:
    body = np.zeros((60, 60), np.bool_)
    body[15:45, 15:45] = True
    outer = np.full((60, 60, 3), 200, np.float32)
    inner = np.zeros_like(outer)
    assert min(contrasts(inner, outer, body)) > 100

    inner[:, :25] = 200  # the left third is as bright as what is around
    overall, rim = contrasts(inner, outer, body)

    assert overall > 100
    assert rim < 2  # colours are rounded to 8 bits


def test_grey_photographs_get_warm_or_green_tints() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    for seed in range(40):
        red, green, blue = demo_scene._recolour(grey, 128, np.random.default_rng(seed))[0, 0].astype(int)
        assert blue < min(red, green)


@pytest.mark.usefixtures("two_images")
def test_a_set_is_the_same_byte_for_byte_each_time(tmp_path: Path, made: Path) -> None:
    make_demo(tmp_path)

    assert contents(tmp_path) == contents(made)


def test_the_splits_lie_side_by_side_and_share_no_image(complete: Path) -> None:
    train, val = make_demo(complete, "train"), MadeSet.of(complete / "val")

    assert sorted(path.name for path in complete.iterdir()) == ["train", "val"]
    assert not set(contents(train.images).values()) & set(contents(val.images).values())


def test_a_complete_set_is_used_again(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(demo, "compose_scene")

    assert make_demo(complete) == MadeSet.of(complete / "val")


@pytest.mark.parametrize(
    "missing",
    [
        "instances.json",
        "coarse.json",
        "complete.json",
        "images/val_02.png",
    ],
)
def test_a_set_that_lacks_a_file_is_made_anew(complete: Path, missing: str) -> None:
    whole = contents(complete)
    (complete / "val" / missing).unlink()

    make_demo(complete)

    assert contents(complete) == whole


def test_a_set_of_another_version_is_made_anew(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "VERSION", demo.VERSION + 1)

    make_demo(complete)

    assert read_json(complete / "val" / "complete.json")["version"] == demo.VERSION


@pytest.mark.usefixtures("two_images")
def test_an_interrupted_run_leaves_no_set_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_results", interrupt)

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("two_images")
def test_several_processes_may_make_the_same_set_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(make_demo, [tmp_path] * 3))

    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["val"]
    assert len(read_annotations(made[0].annotations).images) == 2


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "thesis.tex").write_text("years of work")

    with pytest.raises(FileExistsError, match="no demo set"):
        make_demo(tmp_path)

    assert (tmp_path / "val" / "thesis.tex").read_text() == "years of work"


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split"):
        make_demo(tmp_path, "test")  # type: ignore[arg-type]
