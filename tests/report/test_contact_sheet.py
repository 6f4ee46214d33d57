import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from bpr import rle
from bpr.data.records import refinement_records
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import read_results, write_results
from bpr.formats.errors import FormatError
from bpr.formats.predictions import read_predictions
from bpr.report import contact_sheet
from bpr.report.contact_sheet import PANEL, Example, crop_window, draw_sheet, write_contact_sheet


def example(height=40, width=40, true=True, caption="a ring, score 0.50"):
    image = np.full((height, width, 3), 90, np.uint8)
    masks = []
    for grow in (4, 2, 0):
        mask = np.zeros((height, width), np.bool_)
        mask[10 - grow : 25 + grow, 10 - grow : 25 + grow] = True
        masks.append(mask)
    return Example(image, masks[0], masks[1], masks[2] if true else None, caption)


def pixels_of(sheet, colour):
    return np.argwhere((sheet == colour).all(axis=2))


def test_each_outline_is_in_the_panel_of_its_mask_and_nowhere_else():
    sheet = draw_sheet([[example()]])
    extents = []
    for position, colour in enumerate((contact_sheet._COARSE, contact_sheet._REFINED, contact_sheet._TRUE), start=1):
        found = pixels_of(sheet, colour)
        left = 12 + position * (PANEL + 4)
        below_label = found[found[:, 0] > 12 + 26 * 2 + 20]
        assert below_label[:, 1].min() >= left
        assert found[:, 1].max() < left + PANEL
        extents.append(np.ptp(below_label[:, 1]) + 1)
    scale = PANEL / 40
    assert extents == pytest.approx(
        [23 * scale, 19 * scale, 15 * scale], abs=2
    )  # half a pixel of the crop on each side


def test_the_first_panel_shows_the_image_without_outlines():
    sheet = draw_sheet([[example()]])
    panel = sheet[64 : 64 + PANEL, 12 : 12 + PANEL]
    assert (panel[25:] == 90).all()


def test_ground_truth_has_a_column_only_where_it_is_known():
    known, unknown = example(), example(true=False)
    with_truth, without = draw_sheet([[known]]), draw_sheet([[unknown]])
    assert with_truth.shape[1] - without.shape[1] == PANEL + 4
    mixed = draw_sheet([[known, unknown], [unknown]])
    assert mixed.shape[1] == 2 * with_truth.shape[1]
    assert mixed.shape[0] > with_truth.shape[0]


def test_long_captions_are_cut_off_at_their_example():
    short, long = (draw_sheet([[example(caption=caption)]]) for caption in ("short", "wide " * 100))
    assert short.shape == long.shape
    assert (long[12 + 26 : 12 + 2 * 26, -12:] == 250).all()


def test_a_narrow_crop_keeps_its_shape():
    sheet = draw_sheet([[example(40, 30)]])
    panel = sheet[64 : 64 + PANEL, 12 : 12 + PANEL]
    covered = (panel[30:] == 90).all(axis=(0, 2))
    assert covered.sum() == round(PANEL * 30 / 40)
    assert not covered[0]
    assert not covered[-1]


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one example"):
        draw_sheet([[]])


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    corners=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=3),
)
def test_a_crop_lies_in_the_image_holds_the_boxes_and_is_square_where_it_can_be(size, corners):
    boxes = []
    for a, b, c, d in corners:
        (x1, x2), (y1, y2) = sorted([int(a * size[1]), int(b * size[1])]), sorted([int(c * size[0]), int(d * size[0])])
        boxes.append((x1, y1, x2, y2))
    x1, y1, x2, y2 = crop_window(boxes, size)
    assert 0 <= x1 < x2 <= size[1]
    assert 0 <= y1 < y2 <= size[0]
    assert all(x1 <= box[0] and y1 <= box[1] and x2 >= box[2] and y2 >= box[3] for box in boxes)
    assert x2 - x1 == y2 - y1 or x2 - x1 == size[1] or y2 - y1 == size[0]


@pytest.fixture
def run(toy_coco, tmp_path):
    """Toy records and a results file in which the first mask of every image is another one."""
    entries = read_results(toy_coco.predictions)
    records = refinement_records(toy_coco.images, read_predictions(toy_coco.predictions))
    refined = [dict(entry) for entry in entries]
    for record in records:
        first = record.instances[0]
        mask = rle.decode(first.rle)
        mask[:, :2] ^= True
        refined[first.position]["segmentation"] = rle.encode(mask)
    path = tmp_path / "refined.json"
    write_results(path, refined)
    return records, (path, read_results(path))


def test_what_changed_is_written_with_the_best_object_of_its_class(toy_coco, run, tmp_path):
    sheet = tmp_path / "sheet.png"
    shown = write_contact_sheet(sheet, *run, read_annotations(toy_coco.annotations))
    assert shown == 4
    with PillowImage.open(sheet) as picture:
        drawn = np.asarray(picture)
    assert len(pixels_of(drawn, contact_sheet._TRUE)) > 100
    assert [path.name for path in tmp_path.glob("sheet*")] == ["sheet.png"]


def test_ground_truth_is_not_needed_and_the_number_of_images_is_limited(run, tmp_path):
    assert write_contact_sheet(tmp_path / "sheet.png", *run, max_images=2) == 2
    with PillowImage.open(tmp_path / "sheet.png") as picture:
        drawn = np.asarray(picture)
    assert len(pixels_of(drawn, contact_sheet._TRUE)) == 0
    assert len(pixels_of(drawn, contact_sheet._COARSE)) > 100


def test_nothing_is_written_where_no_mask_changed(toy_coco, run, tmp_path):
    same = (toy_coco.predictions, read_results(toy_coco.predictions))
    assert write_contact_sheet(tmp_path / "sheet.png", run[0], same) == 0
    assert not (tmp_path / "sheet.png").exists()


def test_a_wrong_mask_is_reported_with_its_file_and_entry(run, tmp_path):
    records, (path, entries) = run
    entries[0] = json.loads(json.dumps(entries[0])) | {"segmentation": {"size": [1, 1], "counts": "0"}}
    with pytest.raises(FormatError, match=r"refined\.json.*entry 0"):
        write_contact_sheet(tmp_path / "sheet.png", records, (path, entries))
