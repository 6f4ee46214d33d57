import numpy as np
import pytest
from PIL import Image

from bpr.api.refiner import Refiner
from bpr.drawing import COLOURS
from bpr.formats.protection import is_own
from bpr.report import front_page
from bpr.report.front_page import Compared, draw_front_page, main, where_most_changed

pytest.importorskip("skimage")


def test_insets_lie_around_what_changed_and_do_not_overlap():
    changed = np.zeros((100, 200), np.bool_)
    changed[40:50, 60:70] = True  # most
    changed[41:48, 110:118] = True
    changed[0:5, 190:200] = True  # in a corner of the image
    first, second, third = where_most_changed(changed, 40, 3)
    assert all(first[n] <= (60, 40)[n] for n in range(2))
    assert all(first[n + 2] >= (70, 50)[n] for n in range(2))
    assert (160, 0, 200, 40) in (second, third)
    covered = np.zeros(changed.shape, int)
    for x1, y1, x2, y2 in (first, second, third):
        assert (x2 - x1, y2 - y1) == (40, 40)
        covered[y1:y2, x1:x2] += 1
    assert covered.max() == 1
    assert covered.sum() == 3 * 40 * 40
    assert where_most_changed(np.zeros_like(changed), 40, 3) == []


def test_the_inset_shows_the_object_that_changed_most_there():
    coarse = np.zeros((2, 120, 160), np.bool_)
    coarse[0, 20:100, 20:80] = True
    coarse[1, 20:100, 82:150] = True
    refined = coarse.copy()
    refined[0, 50:70, 60:80] = False
    shown = Compared(np.full((120, 160, 3), 90, np.uint8), coarse, refined)
    page = np.asarray(draw_front_page([shown]))
    inset = front_page._INSET
    above, below = (page[at : at + inset, 404 : 404 + inset] for at in (0, inset + 6))
    assert (above[30:] == COLOURS["coarse"]).all(axis=2).any()  # below the label
    assert (below[30:] == COLOURS["refined"]).all(axis=2).any()
    columns = np.nonzero((above[30:] == COLOURS["coarse"]).all(axis=2))[1]
    assert len(set(columns.tolist())) <= 2  # the right side of the first object; the second one is not drawn
    assert page.shape == (398, 1004, 3)


def test_the_command_draws_the_photographs_small_enough_for_a_readme(tmp_path, monkeypatch, capsys):
    class Halved:
        def __call__(self, photograph, masks):
            return masks & (np.arange(masks.shape[2]) < masks.shape[2] // 2)

    monkeypatch.setattr(Refiner, "from_pretrained", lambda ckpt: Halved())
    picture = tmp_path / "front.png"
    for _ in range(2):  # one of ours is replaced
        assert main([str(picture)]) == 0
    with Image.open(picture) as drawn:
        assert drawn.size == (1004, 802)
    assert is_own(picture)
    assert picture.stat().st_size < 400_000
    picture.write_bytes(b"mine")
    assert main([str(picture)]) == 2
    assert capsys.readouterr().err.endswith("exists; give another `FILE.png`, or --overwrite to replace it\n")
    assert picture.read_bytes() == b"mine"


def test_only_a_name_of_a_png_is_taken(tmp_path, capsys):
    assert main([str(tmp_path / "x.jpg")]) == 2
    assert "x.jpg: the picture is a PNG; let its name end in .png" in capsys.readouterr().err
    assert not (tmp_path / "x.jpg").exists()
