import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr.data.inputs import read_input
from bpr.data.layouts import Layout, find_layout
from bpr.formats.errors import FormatError

FROM_TOOLS = Path(__file__).parents[1] / "formats" / "from_tools"


def save(path, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ones((20, 30), np.uint8) if pixels is None else pixels).save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def annotations(file_name):
    image = {"id": 1, "width": 30, "height": 20, "file_name": file_name}
    polygon = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 20, 2, 20, 15]]}
    return {"images": [image], "annotations": [polygon], "categories": [{"id": 1, "name": "a"}]}


@pytest.fixture
def voc(tmp_path):
    """``VOCdevkit/VOC2012`` with an object in a void ring, and what else is there."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    labels = np.zeros((20, 30), np.uint8)
    labels[3:15, 3:20], labels[4:14, 4:19] = 255, 1
    save(root / "SegmentationObject" / "2007_000032.png", labels)
    save(root / "SegmentationClass" / "2007_000032.png", labels)
    save(root / "JPEGImages" / "2007_000032.jpg")
    save(root / "JPEGImages" / "2007_000033.jpg")
    write(root / "Annotations" / "2007_000032.xml", "<annotation/>")
    return root


@pytest.mark.parametrize("images", ["none", "root", "folder"])
def test_a_whole_pascal_voc_is_taken_with_its_void(voc, images):
    folder = {"none": None, "root": voc, "folder": voc / "JPEGImages"}[images]
    given = read_input(folder, voc)
    (entry,) = given.predictions.entries
    assert (entry["mask_file"], entry["value"]) == ("2007_000032.png", 1)
    assert given.records.paths == [voc / "JPEGImages" / "2007_000032.jpg"]
    assert given.notes[0] == f"PASCAL VOC: masks of SegmentationObject, images of {voc / 'JPEGImages'}, void 255"


def test_other_images_and_another_void_of_pascal_voc_are_taken_as_given(voc, tmp_path):
    save(tmp_path / "others" / "2007_000032.jpg")
    layout = find_layout(tmp_path / "others", voc, None, 7)
    assert layout[:3] == (tmp_path / "others", voc / "SegmentationObject", 7)


@pytest.mark.parametrize(
    ("labels", "image", "file_name", "expected"),
    [
        ("annotations/instances_default.json", "images/sub/a.jpg", "sub/a.jpg", "images"),  # CVAT
        ("train/_annotations.coco.json", "train/a_jpg.rf.0.jpg", "a_jpg.rf.0.jpg", "train"),  # Roboflow
        ("instances.json", "images/a.jpg", "a.jpg", "images"),
    ],
)
def test_the_images_of_annotations_are_found_beside_them(tmp_path, labels, image, file_name, expected):
    save(tmp_path / image)
    given = read_input(None, write(tmp_path / labels, annotations(file_name)))
    assert given.records.paths == [tmp_path / image]
    assert given.notes[0] == f"images are taken from {tmp_path / expected}"


@pytest.mark.parametrize("predictions", [".", "labels", "labels/train"])
def test_the_images_of_a_data_set_of_ultralytics_are_found(tmp_path, predictions):
    save(tmp_path / "images" / "train" / "a.jpg")
    write(tmp_path / "labels" / "train" / "a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    write(tmp_path / "data.yaml", "names: [b]\ntrain: images/train\n")
    given = read_input(None, tmp_path / predictions)
    assert given.images == tmp_path / "images"
    assert given.predictions.entries[0]["class_name"] == "b"
    assert given.records.paths == [tmp_path / "images" / "train" / "a.jpg"]


@pytest.mark.parametrize("predictions", ["Annotations", "Annotations/480p"])
def test_the_images_of_davis_are_found(tmp_path, predictions):
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".png")):
        for video in ("bear", "dog (1)"):
            path = tmp_path / folder / "480p" / video / f"00000{suffix}"
            path.parent.mkdir(parents=True)
            values = np.zeros((20, 30), np.uint8)
            values[5:9, 5:9] = suffix == ".png"
            Image.fromarray(values).save(path)
    if predictions.endswith("480p"):
        for video in ("bear", "dog (1)"):
            save(tmp_path / "JPEGImages" / "Full-Resolution" / video / "00000.jpg")
    given = read_input(None, tmp_path / predictions)
    expected = [tmp_path / "JPEGImages" / "480p" / video / "00000.jpg" for video in ("bear", "dog (1)")]
    assert list(given.records.paths) == expected


def test_images_beside_labels_come_before_those_of_another_data_set(tmp_path):
    save(tmp_path / "JPEGImages" / "other.jpg")
    save(tmp_path / "labels" / "a.jpg")
    path = write(tmp_path / "labels" / "a.json", annotations("a.jpg"))
    assert list(read_input(None, path).records.paths) == [tmp_path / "labels" / "a.jpg"]


def labelme(path, image):
    shape = {"label": "x", "points": [[2, 2], [20, 2], [20, 15]], "shape_type": "polygon"}
    return write(path, {"shapes": [shape], "imagePath": image, "imageHeight": 20, "imageWidth": 30})


def sa1b(path, image):
    mask = {"segmentation": {"size": [20, 30], "counts": [0, 100, 500]}, "predicted_iou": 0.9}
    return write(path, {"image": {"file_name": image, "height": 20, "width": 30}, "annotations": [mask]})


@pytest.mark.parametrize("make", [labelme, sa1b])
@pytest.mark.parametrize("below", ["", "day1"])
@pytest.mark.parametrize("beside", [True, False])
def test_images_are_where_labelme_and_sam_say(tmp_path, make, below, beside):
    root, other = tmp_path / "labels", tmp_path / ("labels" if beside else "photos")
    save(tmp_path / "images" / below / "a.png")  # another one, of the same name
    save(tmp_path / "images" / "labels" / below / "a.png")
    save(other / below / "a.png")
    up = "" if beside else "../" * (2 if below else 1) + f"photos/{below}/"
    make(root / below / "a.json", f"{up}a.png")
    assert list(read_input(None, root).records.paths) == [other / below / "a.png"]
    one = make(root / below / "b.json", f"{up}a.png".replace("/", "\\"))
    assert list(read_input(None, one).records.paths) == [other / below / "a.png"]


@pytest.mark.parametrize("outside", ["../../../outside/a.png", "ABSOLUTE/outside/a.png", "missing.png"])
def test_other_names_of_labelme_do_not_say_where_images_are(tmp_path, outside):
    folder = tmp_path / "sets" / "set"
    save(tmp_path / "outside" / "a.png")
    save(folder / "images" / "a.png")
    labelme(folder / "labels" / "a.json", outside.replace("ABSOLUTE", str(tmp_path)))
    assert find_layout(None, folder / "labels", None, None).images == folder / "images"


@pytest.mark.parametrize(
    ("files", "others", "expected"),
    [
        ({"day1/a": "images/a.png", "day2/b": "images/b.png"}, [], "."),
        ({"day1/labels/a": "../images/a.png", "day2/labels/b": "../images/b.png"}, [], "."),
        ({"a": "day1/a.png", "b": "day2/b.png"}, [], "."),
        ({"a": "../images/train/a.png", "b": "../images/val/b.png"}, [], "../images"),
        ({"a": "a.png", "b": "../images/b.png"}, ["../images/a.png"], "../images"),
        ({"a": "../photos/x/a.png", "b": "../photos/y/b.png"}, ["../images/c.png"], "../photos"),
        ({"a": "../x/a.png", "b": "../y/b.png"}, ["../images/a.png", "../images/b.png"], "../images"),
    ],
)
def test_the_images_of_several_files_are_in_one_folder(tmp_path, files, others, expected):
    root = tmp_path / "set" / "labels"
    for name, image in files.items():
        path = labelme(root / f"{name}.json", image)
        save(Path(os.path.normpath(path.parent / image)))
    for image in others:
        save(Path(os.path.normpath(root / image)))
    found = read_input(None, root)
    assert found.images == Path(os.path.normpath(root / expected))
    assert {path.stem for path in found.records.paths} == {"a", "b"}


def test_links_to_images_and_names_that_no_file_can_have_are_taken_for_what_they_are(tmp_path):
    save(tmp_path / "elsewhere" / "raw.png")
    save(tmp_path / "x" / "y" / "images" / "a.png")
    path = labelme(tmp_path / "x" / "y" / "a.json", "a.png")
    (path.parent / "a.png").symlink_to(tmp_path / "elsewhere" / "raw.png")
    assert find_layout(None, path, None, None).images == path.parent
    labelme(path, "a" * 300 + ".png")
    assert find_layout(None, path, None, None).images == path.parent / "images"


def test_images_beside_labelme_files_are_found_but_masks_are_no_images(tmp_path):
    save(tmp_path / "a.png")
    shape = {"label": "x", "points": [[2, 2], [20, 2], [20, 15]], "shape_type": "polygon"}
    write(tmp_path / "a.json", {"shapes": [shape], "imagePath": "a.png", "imageHeight": 20, "imageWidth": 30})
    assert find_layout(None, tmp_path, None, None) == Layout(
        tmp_path, tmp_path, None, (f"images are taken from {tmp_path}",)
    )
    (tmp_path / "a.json").unlink()
    with pytest.raises(FormatError, match=r"missing\.json: cannot be read \(no such file"):
        find_layout(None, tmp_path / "missing.json", None, None)
    with pytest.raises(FormatError, match=r"no images were found in .*; give images=DIR"):
        find_layout(None, tmp_path, None, None)


@pytest.mark.parametrize(
    ("predictions", "images"),
    [
        ("datumaro_coco/annotations/instances_default.json", "datumaro_coco/images"),
        ("datumaro_voc", "datumaro_voc/JPEGImages"),
    ],
)
def test_the_images_of_what_datumaro_wrote_are_found(predictions, images):
    given = read_input(None, FROM_TOOLS / predictions)
    assert given.images == FROM_TOOLS / images
    assert [path.name for path in given.records.paths] == ["disc.jpg"]
