import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.drawing import outline, outlines, write_png
from bpr.formats.protection import is_own


def test_an_outline_is_where_the_mask_ends():
    view = Image.new("RGB", (40, 40), (90, 90, 90))
    mask = np.zeros((10, 10), np.bool_)
    mask[3:7, 3:7] = True
    drawn = np.asarray(outline(view, mask, (255, 0, 0)))
    red = (drawn == (255, 0, 0)).all(axis=2)
    assert red[12:14, 12:28].all()
    assert not red[16:24, 16:24].any()
    assert red.sum() == 16 * 16 - 12 * 12
    assert (np.asarray(view) == 90).all()


@pytest.mark.parametrize("side", [31, 120, 397])
def test_the_outlines_of_masks_are_drawn_one_upon_the_other_at_any_size(side):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    view = Image.fromarray(pixels).resize((side, side * 100 // 120))
    masks = np.zeros((4, 100, 120), np.bool_)
    masks[0, 10:60, 20:70] = masks[1, :30, 100:] = masks[2, 50:52, 3] = True
    drawn = view
    for mask in masks:
        resized = Image.fromarray(mask).convert("L").resize(view.size, Image.Resampling.NEAREST)
        drawn = outline(drawn, np.asarray(resized) > 0, (255, 0, 0))
    assert outlines(view, [rle.encode(mask) for mask in masks], (255, 0, 0)).tobytes() == drawn.tobytes()
    assert view.tobytes() != drawn.tobytes()


def test_a_written_picture_is_known_as_ours(tmp_path):
    path = tmp_path / "new" / "picture.png"
    write_png(Image.new("RGB", (3, 2), (1, 2, 3)), path)
    assert is_own(path)
    with Image.open(path) as read:
        assert (read.size, read.getpixel((0, 0))) == ((3, 2), (1, 2, 3))
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
