import json

import numpy as np
import pytest
from PIL import Image

from bpr.formats.errors import FormatError
from bpr.formats.predictions import prediction_format, read_predictions

ENTRY = {"image_id": 1, "category_id": 1, "score": 1, "segmentation": {}}


def test_the_content_decides(tmp_path):
    (tmp_path / "results").write_text(json.dumps([ENTRY]))
    (tmp_path / "lines").write_text(json.dumps(ENTRY) + "\n" + json.dumps(ENTRY) + "\n")
    (tmp_path / "annotations").write_text(json.dumps({"images": []}))
    for name in ("city", "masks"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "city" / "a_000000_000000_pred.txt").write_text("")
    expected = {"results": "coco", "lines": "jsonl", "annotations": "coco", "city": "cityscapes", "masks": "masks"}
    assert {name: prediction_format(tmp_path / name).name for name in expected} == expected
    assert prediction_format(tmp_path / "city", "masks").name == "masks"


@pytest.mark.parametrize("name", ["README.txt", "index.txt", "._a_000000_000000_pred.txt"])
def test_a_stray_text_file_does_not_turn_masks_into_cityscapes(tmp_path, name):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / name).write_text("about these masks")
    assert prediction_format(tmp_path).name == "masks"


def test_hidden_files_make_no_format(tmp_path):
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16")
    with pytest.raises(FormatError, match="has neither"):
        prediction_format(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_masks_are_refused_with_the_reason_and_the_remedy(tmp_path, suffix):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / f"a_1{suffix}", format="JPEG")
    problem = rf", a_1{suffix}: JPEG masks are not read, .*; save the masks as PNG"
    with pytest.raises(FormatError, match=problem):
        prediction_format(tmp_path)
    with pytest.raises(FormatError, match=problem):
        read_predictions(tmp_path, "masks", lambda: {"a"})


def test_what_is_no_format_is_refused(tmp_path):
    with pytest.raises(FormatError, match="format=xml is not known; there are coco"):
        prediction_format(tmp_path, "xml")
    with pytest.raises(FormatError, match="no such file or folder"):
        prediction_format(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="has neither"):
        prediction_format(tmp_path)
