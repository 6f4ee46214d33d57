import numpy as np
from PIL import Image

from bpr import rle
from bpr.drawing import COLOURS
from bpr.report.contact_sheet import PANEL, choose_instances, draw_sheet, write_contact_sheet
from bpr.report.pictures import Panel

NAMES = {1: "disc"}
LEFT, TOP = 12, 64  # of the first picture


def example(*titles, size=(40, 40), caption="a ring, score 0.50"):
    return caption, [Panel(title, Image.new("RGB", size, (90, 90, 90))) for title in ("image", *titles)]


def grow(n, coarse, truth):
    """The first mask of each image is another one: its first columns are inverted."""
    if n % 3:
        return coarse
    mask = rle.decode(coarse)
    mask[:, :2] ^= True
    return rle.encode(mask)


def pixels_of(sheet, colour):
    return np.argwhere((np.asarray(sheet) == colour).all(axis=2))


def test_each_picture_is_in_the_middle_of_its_own_cell():
    sheet = draw_sheet([[example("coarse", size=(40, PANEL))]])
    found = pixels_of(sheet, (90, 90, 90))
    found = found[found[:, 0] > TOP + 25]  # below the titles
    columns = sorted(set(found[:, 1].tolist()))
    first, second = LEFT + (PANEL - 40) // 2, LEFT + PANEL + 4 + (PANEL - 40) // 2
    assert columns == [*range(first, first + 40), *range(second, second + 40)]


def test_ground_truth_has_a_column_only_where_it_is_known():
    known, unknown = example("coarse", "refined", "ground truth"), example("coarse", "refined")
    with_truth, without = draw_sheet([[known]]), draw_sheet([[unknown]])
    assert with_truth.width - without.width == PANEL + 4
    mixed = draw_sheet([[known, unknown], [unknown]])
    assert mixed.width == 2 * with_truth.width
    assert mixed.height > with_truth.height


def test_long_captions_are_cut_off_at_their_example():
    short, long = (draw_sheet([[example(caption=caption)]]) for caption in ("short", "wide " * 100))
    assert short.size == long.size
    assert (np.asarray(long)[12 + 26 : TOP, -12:] == 250).all()


def test_of_each_image_the_two_masks_that_changed_most_by_score_are_chosen(finish):
    changes = finish(refine=lambda n, coarse, truth: truth).changes
    rows = choose_instances(changes, 8)
    assert [row[0].record.image_id for row in rows] == [10, 11, 12, 13]
    for row in rows:
        of_image = [c for c in changes if c.record.image_id == row[0].record.image_id]
        amounts = sorted((c.coarse.score * (1 - c.iou_with_coarse) for c in of_image), reverse=True)
        assert [c.coarse.score * (1 - c.iou_with_coarse) for c in row] == amounts[:2]


def test_images_are_spread_evenly_over_those_that_changed(finish):
    changes = finish(refine=grow).changes
    assert [[c.coarse.position for c in row] for row in choose_instances(changes, 2)] == [[0], [9]]
    assert [[c.coarse.position for c in row] for row in choose_instances(changes, 8)] == [[0], [3], [6], [9]]


def test_what_changed_is_written_with_its_object(finish, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert write_contact_sheet(sheet, finish(refine=grow).changes, NAMES) == 4
    with Image.open(sheet) as picture:
        for colour in COLOURS.values():
            assert len(pixels_of(picture, colour)) > 100
    assert [path.name for path in tmp_path.glob("sheet*")] == ["sheet.png"]


def test_ground_truth_is_not_needed(finish, tmp_path):
    changes = finish(refine=grow, annotated=False).changes
    assert write_contact_sheet(tmp_path / "sheet.png", changes, {}, max_images=2) == 2
    with Image.open(tmp_path / "sheet.png") as picture:
        assert len(pixels_of(picture, COLOURS["ground truth"])) == 0
        assert len(pixels_of(picture, COLOURS["coarse"])) > 100


def test_nothing_is_written_where_no_mask_changed(finish, tmp_path):
    changes = finish(refine=lambda n, coarse, truth: coarse).changes
    assert write_contact_sheet(tmp_path / "sheet.png", changes, NAMES) == 0
    assert not (tmp_path / "sheet.png").exists()
