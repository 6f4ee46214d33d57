import numpy as np
import pytest

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.sam_metadata import read_scores, write_metadata

HEAD = "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,predicted_iou"
ROWS = (HEAD, "0,3,0.1,1,2,3,1.50,0.75", "1,4,0,0,1,1,2.5,0.5")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "metadata.csv").write_text("\n".join(ROWS))
    return tmp_path / "metadata.csv"


def test_scores_are_known_by_the_names_of_masks(path):
    assert read_scores(path) == {"0.png": 0.75, "1.png": 0.5}
    assert read_scores(path.with_name("nowhere.csv")) == {}
    path.write_text("a,b\n1,2\n")
    assert read_scores(path) == {}


def test_only_area_and_box_of_masks_that_changed_are_written_anew(path):
    mask = np.zeros((20, 30), np.bool_)
    mask[2:12, 4:9] = True
    write_metadata(path.with_name("out.csv"), {"0.png": rle.encode(mask)}, path)
    assert path.with_name("out.csv").read_text().split("\n") == [HEAD, "0,50,4,2,5,10,1.50,0.75", ROWS[2]]
    write_metadata(path.with_name("out.csv"), {}, path)
    assert path.with_name("out.csv").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("value", ["x", "nan", ""])
def test_a_score_that_is_no_number_is_named(path, value):
    path.write_text(f"{HEAD}\n0,3,0,1,2,3,1.5,{value}\n")
    with pytest.raises(FormatError, match=r"metadata\.csv, line 2: predicted_iou must be a finite number"):
        read_scores(path)
