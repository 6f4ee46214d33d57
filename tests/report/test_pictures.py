import numpy as np

from bpr import rle as rle_codec
from bpr.drawing import COLOURS
from bpr.report import pictures
from bpr.report.pictures import crop_window, panels_of


def test_only_images_that_are_shown_are_decoded_each_once(finish, monkeypatch):
    decoded = []
    read = pictures.read_image
    monkeypatch.setattr(pictures, "read_image", lambda path, *rest: decoded.append(path.name) or read(path, *rest))
    changes = finish().changes
    panels = panels_of([changes[2], changes[4], changes[0]])
    assert decoded == ["000000000010.png", "000000000011.png"]
    assert [[panel.title for panel in of_one] for of_one in panels] == [
        ["image", "coarse", "refined", "ground truth"]
    ] * 3
    assert [panel.empty for panel in panels[0]] == [False, False, True, False]


def test_each_outline_is_in_the_picture_of_its_mask_and_nowhere_else(finish):
    (panels,) = panels_of(finish().changes[:1])
    for panel in panels:
        drawn = np.asarray(panel.picture)
        found = {title for title, colour in COLOURS.items() if (drawn == colour).all(axis=2).any()}
        assert found == {panel.title} - {"image"}


def test_pictures_are_as_large_as_allowed_and_small_objects_are_not_magnified_without_end(finish):
    (panels,) = panels_of(finish().changes[:1], side=100)
    assert {max(panel.picture.size) for panel in panels} == {100}
    (panels,) = panels_of(finish().changes[:1], side=10_000)
    x1, y1, x2, y2 = crop_window(
        [finish().changes[0].coarse.rle, finish().changes[0].refined], finish().changes[0].record.size
    )
    assert panels[0].picture.size == (8 * (x2 - x1), 8 * (y2 - y1))


def test_a_window_holds_all_masks_and_stays_inside_the_image():
    mask = np.zeros((100, 200), np.bool_)
    mask[40:60, 3:53] = True
    other = np.zeros_like(mask)
    other[70:72, 50:63] = True
    codes = [rle_codec.encode(m) for m in (mask, other)]
    assert crop_window(codes, (100, 200)) == (0, 33, 70, 79)
    assert crop_window([rle_codec.encode(np.zeros_like(mask))], (100, 200)) == (0, 0, 200, 100)
