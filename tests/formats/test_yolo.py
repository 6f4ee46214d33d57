import json
from pathlib import Path

import numpy as np
import pytest

from bpr import rle
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import refined_entry
from bpr.formats.errors import FormatError
from bpr.formats.polygons import trace
from bpr.formats.prediction_format import Reading
from bpr.formats.predictions import read_aligned, read_predictions
from bpr.formats.yolo import read_labels, write_labels

FROM_TOOLS = Path(__file__).with_name("from_tools")
SIZE = (60, 80)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
BOX = "0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5"  # x 20 to 40, y 15 to 30


def disc(x, y, radius):
    return (ROWS - y) ** 2 + (COLUMNS - x) ** 2 <= radius**2


TWO_PARTS = disc(50, 12, 8) | disc(65, 45, 10)


def save(folder, text, name="labels/a.txt"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode())
    return folder


def read(folder, *names, size=SIZE):
    return read_labels(folder, Reading(lambda: dict.fromkeys(names or ["a"], size)))


def rewrite(folder, *masks, **options):
    """The text of the only file with other masks (None: the one it has), and the notes."""
    entries = read(folder).entries
    new = [e if m is None else refined_entry(e, rle.encode(m)) for e, m in zip(entries, masks, strict=True)]
    notes = write_labels(folder.parent / "out", new, folder, **options)
    (path,) = (folder.parent / "out").rglob("*.txt")
    return path.read_bytes().decode(), notes


def iou(one, other):
    return rle.iou([one], [rle.encode(other)])[0, 0]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "in"


def test_a_row_becomes_an_entry(folder):
    (entry,) = read(save(folder, f"7 {BOX}\n")).entries
    mask = np.zeros(SIZE, np.bool_)
    mask[15:30, 20:40] = True
    expected = {"image_id": "a", "category_id": 7, "score": 1.0, "segmentation": rle.encode(mask)}
    assert entry == {**expected, "label_file": "labels/a.txt", "line_number": 1}


def test_a_last_number_too_many_is_the_confidence(folder):
    (entry,) = read(save(folder, f"7 {BOX} 0.625\n")).entries
    assert entry["score"] == 0.625
    assert rle.bounding_box(entry["segmentation"]) == (20, 15, 40, 30)


def test_only_changed_rows_are_written_anew_and_class_confidence_and_line_breaks_stay(folder):
    rows = [f"\ufeff07 {BOX} .50\r\n", "\r\n", "1 0.5 0.5 .1 .1\r\n", "1 0.5 0.5 .1 .1 0.9\r\n", f" 3  {BOX}"]
    text, notes = rewrite(save(folder, "".join(rows)), disc(30, 30, 9), None)
    first, *others = text.splitlines(keepends=True)
    assert others == rows[1:]
    assert first.startswith("\ufeff07 0.")
    assert first.endswith(" .50\r\n")
    assert notes == ()
    assert rewrite(save(folder, "".join(rows)), None, None)[0] == "".join(rows)


def test_a_suffix_in_capitals_is_one_too(folder):
    save(folder, f"0 {BOX}\n", "labels/b.txt")
    entries = read(save(folder, f"7 {BOX}\n", "labels/a.TXT"), "a", "b").entries
    assert [entry["category_id"] for entry in entries] == [7, 0]
    write_labels(folder.parent / "out", entries, folder)
    assert (folder.parent / "out/labels/a.TXT").read_text() == f"7 {BOX}\n"


def test_boxes_are_counted(folder):
    save(folder, f"1 0.5 0.5 .1 .1\n1 0.5 0.5 .1 .1 0.9\n2 {BOX}\n")
    assert read(folder).notes == ("left as they are: 2 rows that are boxes",)
    save(folder, "0 0.5 0.5 0.2 0.2\n")
    assert read(folder).notes == ("left as they are: 1 row that is a box",)


@pytest.mark.parametrize("size", [(60, 80), (61, 83), (1999, 2999), (97, 12001)])
def test_what_is_written_draws_the_mask_exactly_in_images_of_any_size(folder, size):
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.bool_)
    mask[5:60, -75:] = (rng.random((55, 75)) < 0.5)[: size[0] - 5, :75]
    path = save(folder, f"0 {BOX}\n")
    (entry,) = read(path, size=size).entries
    filled = rle.from_segmentation(trace(rle.encode(mask))[0], size)
    write_labels(folder.parent / "out", [refined_entry(entry, filled)], path)
    (after,) = read(folder.parent / "out", size=size).entries
    assert after["segmentation"] == filled


def test_parts_become_one_polygon_that_draws_both(folder):
    path = save(folder, f"0 {BOX}\n")
    text, notes = rewrite(path, TWO_PARTS)
    assert len(text.splitlines()) == 1
    (entry,) = read(folder.parent / "out").entries
    assert entry["segmentation"] == rle.encode(TWO_PARTS)
    assert notes == ()


def test_holes_are_filled_and_a_tolerance_thins_and_both_are_said(folder):
    path = save(folder, f"0 {BOX}\n")
    exact, notes = rewrite(path, disc(40, 30, 20) & ~disc(40, 30, 4))
    assert notes[0] == "1 hole in 1 mask filled, since polygons cannot hold them"
    assert "IoU lost by writing 1 mask as polygons: mean 0.0" in notes[1]
    assert notes[1].endswith("a.txt, line 1)")
    thinned, _ = rewrite(path, disc(40, 30, 20), tolerance=1.0)
    assert len(thinned) < len(exact) / 2


def test_other_files_come_along_and_images_do_not(folder):
    save(folder, f"0 {BOX}\n")
    others = {"empty.txt": "", "labels/b.txt": "\n", "classes.txt": "cat\n", "data.yaml": "names: [cat]\n"}
    for name, text in (others | {"images/a.jpg": "x", "labels.cache": "x", ".hidden.txt": "x"}).items():
        save(folder, text, name)
    write_labels(folder.parent / "out", read(folder, "a", "b").entries, folder)
    written = {p.relative_to(folder.parent / "out").as_posix() for p in (folder.parent / "out").rglob("*.*")}
    assert written == {"labels/a.txt", *others}
    assert all((folder.parent / "out" / name).read_text() == text for name, text in others.items())


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("labels/train/a.txt", "images/train/a"),
        ("labels/train/a.txt", "train/a"),
        ("labels/train/a.txt", "a"),
        ("train/a.txt", "images/train/a"),
        ("train/labels/a.txt", "train/images/a"),
        ("train/labels/a.txt", "a"),
        ("labels/labels/a.txt", "labels/images/a"),
        ("a.txt", "images/train/a"),
    ],
)
def test_images_are_found_where_ultralytics_has_them(folder, label, image):
    assert read(save(folder, f"0 {BOX}\n", label), image).entries[0]["image_id"] == image


@pytest.mark.parametrize("image", ["val/a", "images/val/a", "labels/train/a", "train/images/a"])
def test_images_in_other_folders_are_others(folder, image):
    message = rf"a\.txt: images/train/a is none of the 1 images; .* \({image} is in another folder\)"
    with pytest.raises(FormatError, match=message):
        read(save(folder, f"0 {BOX}\n", "labels/train/a.txt"), image)


def test_the_folder_decides_between_images_of_one_name(folder):
    save(folder, f"0 {BOX}\n", "labels/val/a.txt")
    assert read(folder, "train/a", "val/a").entries[0]["image_id"] == "val/a"
    with pytest.raises(FormatError, match=r"a\.txt: may belong to train/a, val/a"):
        read(folder / "labels" / "val", "train/a", "val/a")


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "\n  0: cat\n  1: dog", "{'0': cat, '1': dog}"])
@pytest.mark.parametrize("place", ["data.yaml", "../data.yaml", "../../data.yaml"])
def test_classes_are_found_by_the_names_of_data_yaml(tmp_path, names, place):
    folder = tmp_path / "x" / "y"
    save(folder, f"1 {BOX}\n", "a.txt")
    save(folder, f"names: {names}\n", place)
    (entry,) = read_aligned(folder, annotations(tmp_path)).entries
    assert (entry["image_id"], entry["category_id"]) == (4, 8)


TRUTH = {
    "images": [{"id": 4, "file_name": "a.jpg", "height": 60, "width": 80}],
    "annotations": [],
    "categories": [{"id": 9, "name": "cat"}, {"id": 8, "name": "dog"}],
}


def annotations(tmp_path, **others):
    (tmp_path / "gt.json").write_text(json.dumps({**TRUTH, **others}))
    return read_annotations(tmp_path / "gt.json")


def test_one_class_without_a_name_is_the_only_one_there_is(tmp_path, folder):
    save(folder, f"0 {BOX}\n", "a.txt")
    only = annotations(tmp_path, categories=[{"id": 9, "name": "cat"}])
    assert read_aligned(folder, only).entries[0]["category_id"] == 9
    save(folder, f"0 {BOX}\n1 {BOX}\n", "a.txt")
    assert [entry["category_id"] for entry in read_aligned(folder, only).entries] == [0, 1]


@pytest.mark.parametrize("names", ["!!timestamp foo", "!!int ''", "!!bool foo"])
def test_wrong_tags_in_data_yaml_are_named(folder, names):
    save(folder, f"names: {names}\n", "data.yaml")
    with pytest.raises(FormatError, match=r"data\.yaml: cannot be read as YAML"):
        read(save(folder, f"0 {BOX}\n"))


def test_a_broken_data_yaml_is_named(folder):
    save(folder, "names: [", "data.yaml")
    with pytest.raises(FormatError, match=r"data\.yaml: cannot be read as YAML"):
        read(save(folder, f"0 {BOX}\n"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x 0 0 1 0 1 1", "expected 'CLASS X1 Y1 X2 Y2 ...', got 'x 0 0 1 0 1 1'"),
        ("-1 0 0 1 0 1 1", "the class must be a whole number from 0 to 2147483647, got -1"),
        ("1.5 0 0 1 0 1 1", "the class must be a whole number"),
        ("1 0 0 1", "expected a class and at least 4 numbers, got 3"),
        ("1 0 0 20 0 1 1", "20 is outside of 0 to 1"),
        ("1 0 0 1 0 1 1 0.5 17", "17 is outside of 0 to 1, .*; divide px by its size, and leave out ids of tracks"),
        ("1 0 0 nan 0 1 1", "nan is outside of 0 to 1"),
    ],
)
def test_errors_name_file_and_line(folder, row, message):
    with pytest.raises(FormatError, match=rf"a\.txt, line 2: {message}"):
        read(save(folder, f"1 {BOX}\n{row}\n"))


def test_a_folder_without_labels_and_labels_without_an_image_are_refused(folder):
    with pytest.raises(FormatError, match=r"in: has no YOLO labels"):
        read(save(folder, "cat\n", "classes.txt"))
    with pytest.raises(FormatError, match=r"c\.txt: images/c is none of the 1 images"):
        read(save(folder, f"1 {BOX}\n", "labels/c.txt"))


@pytest.mark.parametrize("text", ["1 2 3 4 5 6 7", "mask.png 26 0.5", "cat"])
def test_other_text_files_make_no_labels(folder, text):
    save(folder, text, "a.txt")
    with pytest.raises(FormatError, match="is in no known format"):
        read_predictions(folder)


def test_a_data_set_without_an_object_has_nothing_to_refine(folder):
    save(folder, "", "labels/a.txt")
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(FormatError, match="nothing to refine: its 1 text files are empty, as YOLO labels without"):
        read_predictions(folder)


def test_labels_named_like_cityscapes_images_are_labels(folder):
    save(folder, f"1 {BOX}\n", "video_0001_0002.txt")
    assert read_predictions(folder, image_sizes=lambda: {"video_0001_0002": SIZE}).format.name == "yolo"


def test_what_ultralytics_saves_is_read(folder):
    """Its polygons run through the centres of the outermost pixels and so are half a pixel smaller."""
    first, second = read(FROM_TOOLS / "ultralytics_save_txt", "disc").entries
    assert [(e["category_id"], e["score"]) for e in (first, second)] == [(2, 0.875), (0, 0.5)]
    assert iou(first["segmentation"], disc(25, 30, 15)) > 0.9
    assert iou(second["segmentation"], TWO_PARTS) > 0.85


def test_what_ultralytics_converts_from_coco_is_read_exactly():
    first, second = read(FROM_TOOLS / "ultralytics_convert_coco", "train/disc").entries
    assert [(e["category_id"], e["label_file"]) for e in (first, second)] == [
        (2, "labels/train/disc.txt"),
        (0, "labels/train/disc.txt"),
    ]
    assert first["segmentation"] == rle.encode(disc(25, 30, 15))
    assert second["segmentation"] == rle.encode(TWO_PARTS)
