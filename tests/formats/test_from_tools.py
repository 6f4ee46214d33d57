"""What the files that real tools wrote hold, and that they come back; ``from_tools/README.md`` says who made them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.predictions import read_predictions

FROM_TOOLS = Path(__file__).with_name("from_tools")
SIZE = (60, 80)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]


def disc(x, y, radius):
    return (ROWS - y) ** 2 + (COLUMNS - x) ** 2 <= radius**2


ONE = disc(25, 30, 15)
TWO_PARTS = disc(50, 12, 8) | disc(65, 45, 10)
BOTH = [ONE, TWO_PARTS]
APART = [ONE, disc(65, 45, 10), disc(50, 12, 8)]
SMALLER_FIRST = [ONE, disc(50, 12, 8), disc(65, 45, 10)]
EXACT = 1.0
THROUGH_CENTRES = 0.8
"""IoU of polygons that run through the centres of the outermost pixels of discs of 8 px."""

WRITTEN = {
    "datumaro_coco/annotations/instances_default.json": ("coco_annotations", BOTH, EXACT),
    "supervision_as_coco/train/_annotations.coco.json": ("coco_annotations", BOTH, THROUGH_CENTRES),
    "labelformat_coco/labels.json": ("coco_annotations", BOTH, EXACT),
    "pylabel_coco/coco.json": ("coco_annotations", BOTH, EXACT),
    "datumaro_voc/SegmentationObject": ("masks", BOTH, EXACT),
    "ultralytics_save_json/predictions.json": ("coco", BOTH, EXACT),
    "ultralytics_save_txt": ("yolo", BOTH, THROUGH_CENTRES),
    "ultralytics_convert_coco": ("yolo", BOTH, EXACT),
    "supervision_as_yolo": ("yolo", APART, THROUGH_CENTRES),
    "labelformat_yolo": ("yolo", BOTH, EXACT),
    "pylabel_yolo": ("yolo", [ONE, disc(50, 12, 8)], EXACT),
    "labelme/disc.json": ("labelme", BOTH, 0.95),
    "label_studio_coco/result.json": ("coco_annotations", SMALLER_FIRST, EXACT),
    "label_studio_yolo": ("yolo", SMALLER_FIRST, EXACT),
    "label_studio_brush_coco/result_coco.json": ("coco_annotations", APART, THROUGH_CENTRES),
    "label_studio_brush_png": ("masks", BOTH, EXACT),
    "sam_amg_rle": ("sam", BOTH, EXACT),
    "sam_amg_png": ("masks", BOTH, EXACT),
}
"""By path: the format, the masks, and the IoU with these that is reached at least."""


def read(path):
    crowds = path.name in ("instances_default.json", "_annotations.coco.json")  # where masks are crowd regions
    return read_predictions(path, image_sizes=lambda: dict.fromkeys(("disc", "f43a7457-disc"), SIZE), crowds=crowds)


def contents(folder):
    """By name: the values of pixels, the values of JSON lists, and the bytes of other files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".png":
            with Image.open(path) as image:
                found[path.relative_to(folder)] = (image.mode, image.getpalette(), np.asarray(image).tolist())
        elif path.is_file():
            found[path.relative_to(folder)] = path.read_bytes()
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_the_masks_that_a_tool_wrote_are_read(name):
    form, masks, least = WRITTEN[name]
    found = read(FROM_TOOLS / name)
    assert found.format.name == form
    for number, (entry, mask) in enumerate(zip(found.entries, masks, strict=True)):
        code = found.rle(number, entry, SIZE)
        assert float(rle.iou([code], [rle.encode(mask)])[0, 0]) >= least


@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_tool_wrote_comes_back_with_only_other_masks(name, tmp_path):
    given = read(FROM_TOOLS / name)
    output = tmp_path / "same" / given.path.name
    given.write(output, given.entries)
    before, after = (contents(path.parent if given.path.is_file() else path) for path in (given.path, output))
    if given.format.name == "coco":  # written anew, entry by entry
        assert json.loads(output.read_text()) == json.loads(given.path.read_text())
    else:
        assert after == {file: before[file] for file in after}
    moved = rle.encode(np.roll(ONE, 2, axis=1))
    first, *others = given.entries
    given.write(tmp_path / "moved" / given.path.name, [{**first, "segmentation": moved}, *others])
    again = read(tmp_path / "moved" / given.path.name)
    assert again.rle(0, again.entries[0], SIZE) == moved
    assert [{**entry, "segmentation": 0} for entry in again.entries] == [
        {**entry, "segmentation": 0} for entry in given.entries
    ]
    assert list(again.entries[1:]) == others
