import numpy as np
from PIL import Image

from bpr.drawing import outline, write_png
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


def test_a_written_picture_is_known_as_ours(tmp_path):
    path = tmp_path / "new" / "picture.png"
    write_png(Image.new("RGB", (3, 2), (1, 2, 3)), path)
    assert is_own(path)
    with Image.open(path) as read:
        assert (read.size, read.getpixel((0, 0))) == ((3, 2), (1, 2, 3))
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
