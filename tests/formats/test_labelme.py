import json
from pathlib import Path

import numpy as np
import pytest

from bpr import rle
from bpr.formats.coco import refined_entry
from bpr.formats.errors import FormatError
from bpr.formats.labelme import read_labelme, write_labelme
from bpr.formats.prediction_format import Reading
from bpr.formats.predictions import read_predictions

MADE_BY_LABELME = Path(__file__).with_name("from_tools") / "labelme" / "disc.json"
SIZE = (60, 80)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
POLYGON = {"label": "a", "points": [[20, 15], [40, 15], [40, 30], [20, 30]], "group_id": 4, "shape_type": "polygon"}


def disc(x, y, radius):
    return (ROWS - y) ** 2 + (COLUMNS - x) ** 2 <= radius**2


TWO_PARTS = disc(50, 12, 8) | disc(65, 45, 10)


def save(path, *shapes, **others):
    content = {"version": "6", "shapes": shapes, "imagePath": "a.jpg", "imageHeight": 60, "imageWidth": 80, **others}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(path, *names):
    return read_labelme(path, Reading(lambda: dict.fromkeys(names or ["a"], SIZE)))


def rewrite(path, *masks, name="a", **options):
    """The shapes of one file with other masks (None: the one it has), and the notes."""
    entries = read(path, name).entries
    new = [e if m is None else refined_entry(e, rle.encode(m)) for e, m in zip(entries, masks, strict=True)]
    notes = write_labelme(path.with_name("out.json"), new, path, **options)
    return json.loads(path.with_name("out.json").read_text())["shapes"], notes


def test_a_polygon_becomes_an_entry(tmp_path):
    mask = np.zeros(SIZE, np.bool_)
    mask[15:30, 20:40] = True
    old = {name: value for name, value in POLYGON.items() if name != "shape_type"}  # of labelme before 3.16
    first, second = read(save(tmp_path / "x.json", POLYGON, {**old, "label": "b"})).entries
    expected = {"image_id": "a", "category_id": 1, "score": 1.0, "segmentation": rle.encode(mask)}
    expected |= {"image_suffix": ".jpg"}
    assert first == {**expected, "class_name": "a", "label_file": "x.json", "shape": 0}
    assert second == {**expected, "category_id": 2, "class_name": "b", "label_file": "x.json", "shape": 1}


def test_what_labelme_wrote_is_read_and_only_changed_shapes_are_written_anew(tmp_path):
    path = tmp_path / "disc.json"
    path.write_bytes(MADE_BY_LABELME.read_bytes())
    content = read(path, "disc")
    polygon, mask = content.entries
    assert content.notes == ("left as they are: 1 x rectangle",)
    assert rle.iou([polygon["segmentation"]], [rle.encode(disc(25, 30, 15))]) > 0.95
    assert mask["segmentation"] == rle.encode(TWO_PARTS)
    rewrite(path, None, None, name="disc")
    assert (tmp_path / "out.json").read_bytes() == path.read_bytes()
    shapes, notes = rewrite(path, TWO_PARTS, disc(25, 30, 14), name="disc")
    before, after = json.loads(path.read_text()), json.loads((tmp_path / "out.json").read_text())
    assert {**after, "shapes": 0} == {**before, "shapes": 0}
    assert [list(shape) for shape in shapes] == [list(shape) for shape in before["shapes"]]
    assert [{**shape, "points": 0, "mask": 0} for shape in shapes] == [
        {**shape, "points": 0, "mask": 0} for shape in before["shapes"]
    ]
    assert shapes[1] == before["shapes"][1]
    assert shapes[2]["points"] == [[11, 16], [39, 44]]
    assert [e["segmentation"] for e in read(tmp_path / "out.json", "disc").entries] == [
        rle.encode(TWO_PARTS),
        rle.encode(disc(25, 30, 14)),
    ]
    assert notes == ()


def test_holes_are_filled_in_polygons_and_kept_in_masks_and_a_tolerance_thins(tmp_path):
    mask = json.loads(MADE_BY_LABELME.read_text())["shapes"][2]
    path, hollow = save(tmp_path / "x.json", POLYGON, mask), disc(40, 30, 20) & ~disc(40, 30, 4)
    (exact, _), notes = rewrite(path, hollow, hollow)
    assert notes[0] == "1 hole in 1 mask filled, since polygons cannot hold them"
    assert notes[1].endswith("x.json, shapes[0])")
    assert read(tmp_path / "out.json").entries[1]["segmentation"] == rle.encode(hollow)
    (thinned, _), _ = rewrite(path, hollow, hollow, tolerance=1.0)
    assert len(thinned["points"]) < len(exact["points"]) / 2


def test_a_folder_comes_back_with_all_its_json_files(tmp_path):
    folder = tmp_path / "in"
    save(folder / "x" / "a.json", POLYGON)
    save(folder / "empty.json", imagePath="../nowhere.jpg")
    for name, text in {"other.json": "[]", "a.jpg": "x", "._a.json": "x"}.items():
        (folder / name).write_text(text)
    predictions = read_predictions(folder, image_sizes=lambda: {"a": SIZE})
    assert predictions.format.name == "labelme"
    predictions.write(tmp_path / "out", predictions.entries)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"x/a.json", "empty.json", "other.json"}
    assert all((tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes() for name in written)


def test_a_polygon_of_two_points_is_told_what_it_needs(tmp_path):
    path = save(tmp_path / "x.json", {**POLYGON, "points": [[20, 15], [40, 15]]})
    with pytest.raises(FormatError, match=r"shapes\[0\]: has no mask .*: a polygon needs three points or more, got 2$"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_not_passed_over(tmp_path, encoding):
    save(tmp_path / "a.json", POLYGON)
    path = save(tmp_path / "b.json", POLYGON)
    path.write_text(path.read_text(), encoding=encoding)
    with pytest.raises(FormatError, match=r"b\.json: is text in UTF-16; save it as UTF-8"):
        read(tmp_path)


def test_one_file_comes_back_as_one(tmp_path):
    predictions = read_predictions(save(tmp_path / "x.json", POLYGON), image_sizes=lambda: {"a": SIZE})
    assert (predictions.format.name, predictions.format.suffix) == ("labelme", ".json")
    assert predictions.place(0) == (tmp_path / "x.json", "shapes[0]")


def test_the_size_of_the_image_is_taken_where_the_file_has_none(tmp_path):
    (entry,) = read(save(tmp_path / "x.json", POLYGON, imageHeight=None)).entries
    assert entry["segmentation"]["size"] == [*SIZE]


@pytest.mark.parametrize("given", ["../images/train/a.jpg", r"..\images\train\a.jpg", "/data/train/a.jpg", "a.jpg"])
def test_images_are_found_by_name_and_folders(tmp_path, given):
    path = save(tmp_path / "in" / "train" / "x.json", POLYGON, imagePath=given)
    assert read(tmp_path / "in", "train/a", "val/a").entries[0]["image_id"] == "train/a"
    assert read(path, "a").entries[0]["image_id"] == "a"
    if given != "a.jpg":
        with pytest.raises(FormatError, match=r"x\.json, imagePath: .*train/a is none of the 1 images; .*val/a is in"):
            read(path, "val/a")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (3, "expected an object, got int"),
        ({"points": []}, "'label' is missing"),
        ({**POLYGON, "points": "x"}, "'points' must be list"),
        ({**POLYGON, "points": [[1, 2], [3, 4]]}, r"has no mask .*three points or more"),
        ({**POLYGON, "points": [[1, 2], [3]]}, "has no mask"),
        ({**POLYGON, "shape_type": "mask"}, r"has no mask in an image of \(60, 80\) \(h, w\)"),
        (
            {**POLYGON, "points": [[1, 1], [3, 3]], "shape_type": "mask"},
            "has no mask .*'mask' must be a PNG in base64, got NoneType",
        ),
        ({**POLYGON, "points": [[1, 1], [3, 3]], "shape_type": "mask", "mask": "?"}, "has no mask"),
        (
            {**POLYGON, "points": [[1, 1], [3, 3]], "shape_type": "mask", "mask": "AAAA"},
            "has no mask .*cannot identify",
        ),
    ],
)
def test_errors_name_file_and_shape(tmp_path, shape, message):
    with pytest.raises(FormatError, match=rf"x\.json, shapes\[1\]: {message}"):
        read(save(tmp_path / "x.json", POLYGON, shape))


def test_a_mask_of_another_size_than_its_points_is_refused(tmp_path):
    mask = json.loads(MADE_BY_LABELME.read_text())["shapes"][2]
    with pytest.raises(FormatError, match=r"shapes\[0\]: has no mask .*does not fit window"):
        read(save(tmp_path / "x.json", {**mask, "points": [[0, 0], [3, 3]]}))


@pytest.mark.parametrize("content", ["[]", "{}", '{"images": [], "shapes": []}', '{"shapes": []', ""])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(FormatError, match=r"x\.json: is (no labelme file|not JSON)"):
        read(tmp_path / "x.json")


@pytest.mark.parametrize(("height", "width"), [(-3, 80), (60, 0)])
def test_an_image_without_a_pixel_is_refused_by_its_fields(tmp_path, height, width):
    path = save(tmp_path / "x.json", POLYGON, imageHeight=height, imageWidth=width)
    message = rf"x\.json: imageHeight and imageWidth must be at least 1 px, got {height} and {width}"
    with pytest.raises(FormatError, match=message):
        read(path)
