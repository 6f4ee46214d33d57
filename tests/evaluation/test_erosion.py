import numpy as np

from bpr import rle
from bpr.evaluation.erosion import eroded_mask, main


def test_a_square_loses_its_rim_but_not_at_the_border_of_the_image():
    mask = np.zeros((10, 10), bool)
    mask[3:8, 5:] = True
    expected = np.zeros((10, 10), bool)
    expected[4:7, 6:] = True
    np.testing.assert_array_equal(rle.decode(eroded_mask(rle.encode(mask), 1)), expected)


def test_a_mask_that_would_vanish_stays():
    for mask in (np.zeros((5, 5), bool), np.eye(5, dtype=bool)):
        assert eroded_mask(rle.encode(mask), 1) == rle.encode(mask)


def test_coco_val_comes_out_as_in_its_readme(shared_dir, capsys):
    folder = shared_dir / "data" / "coco_val"
    assert main([str(folder / "coarse_yolov5n_seg.json"), str(folder / "instances.json")]) == 0
    before, after = capsys.readouterr().out.splitlines()
    assert before == "eroded by 0 px: AP 25.1, AP50 42.0, AP75 24.8, Boundary AP 14.7"
    assert after == "eroded by 1 px: AP 24.5, AP50 41.0, AP75 23.4, Boundary AP 14.1"
