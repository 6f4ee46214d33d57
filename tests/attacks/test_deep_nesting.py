"""JSON is nested so deeply that a parser runs out of stack."""

import pytest

from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.predictions import FORMATS, read_predictions
from samples import SIZE

TEXTS = {
    "list": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "inside": '[{"image_id": 1, "segmentation": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    "last member": '{"images": [], "annotations": [], "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "image": '{"image": {}, "shapes": [], "imagePath": "a.jpg", "annotations": ' + "[" * 100_000,
}
IN_JSON = ["coco", "jsonl", "coco_annotations", "panoptic", "labelme", "sam"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("form", [*IN_JSON, None])
def test_it_is_named_as_no_json(tmp_path, form, text):
    assert form is None or form in FORMATS
    path = tmp_path / "deep.json"
    path.write_text(TEXTS[text])
    (tmp_path / "deep").mkdir()
    with pytest.raises(FormatError, match=r"deep\.json.*: (is not JSON|is no |is in no known format)"):
        read_predictions(path, form, lambda: {"a": SIZE})
    with pytest.raises(FormatError, match=r"deep\.json: is not JSON"):
        read_annotations(path)
