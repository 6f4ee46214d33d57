from pathlib import Path

import numpy as np
import pytest

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.places import entry_rle, named_place, place

FOLDER = Path("predictions")
MASK = rle.encode(np.ones((3, 4), bool))
CITYSCAPES = {"prediction_file": "a/x_pred.txt", "line_number": 3, "mask_file": "a/0.png", "segmentation": MASK}
ONE_MASK = {"mask_file": "a_1.png", "value": None, "segmentation": MASK}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"image_id": 1}, "predictions, entry 7"),
        ({"image_id": 1, "mask_file": "a field of the user"}, "predictions, entry 7"),
        (CITYSCAPES, "predictions/a/x_pred.txt, line 3 (predictions/a/0.png)"),
        (ONE_MASK, "predictions/a_1.png"),
        ({**ONE_MASK, "value": 5}, "predictions/a_1.png, value 5"),
        ({"png_file": "1.png", "segment": 9}, "predictions/1.png, segment 9"),
    ],
)
def test_an_entry_is_named_where_a_person_finds_it(entry, expected):
    assert named_place(FOLDER, 7, entry) == expected


def test_errors_take_the_place_as_it_is():
    assert str(FormatError(*place(FOLDER, 7, ONE_MASK), "is wrong")) == "predictions/a_1.png: is wrong"


@pytest.mark.parametrize("entry", [CITYSCAPES, ONE_MASK])
def test_a_mask_in_a_file_that_has_another_size_than_its_image_is_named(entry):
    with pytest.raises(FormatError) as caught:
        entry_rle(FOLDER, 7, entry, (30, 40))
    assert str(caught.value).startswith(
        f"{named_place(FOLDER, 7, entry)}: the mask is (3, 4) (h, w), its image (30, 40); save it in the size"
    )


def test_the_mask_of_an_entry_is_its_rle():
    assert entry_rle(FOLDER, 7, CITYSCAPES, (3, 4)) == MASK
