"""A file names masks or images outside of its folder, to have them read or, worse, written over."""

import json
from pathlib import Path

import pytest

from bpr.formats.errors import FormatError
from bpr.formats.panoptic import write_panoptic
from bpr.formats.predictions import read_predictions
from samples import SIZE, make_cityscapes, make_labelme, make_panoptic, make_sam, rectangle, results, save

OUTSIDE = ["../outside.png", "/tmp/outside.png", "x/../../outside.png", "..\\outside.png"]


@pytest.mark.parametrize("outside", OUTSIDE[:3])
def test_masks_outside_of_the_folder_are_refused(tmp_path, outside):
    save(tmp_path / "outside.png", rectangle(0))
    path = make_cityscapes(tmp_path, ["a"]) / "ulm_000000_000001_pred.txt"
    path.write_text(f"{outside} 26 0.5\n")
    with pytest.raises(FormatError, match=r"_pred\.txt, line 1: .*outside\.png (is an absolute path|leads out)"):
        read_predictions(path.parent)
    path = make_panoptic(tmp_path, ["a"])
    path.write_text(path.read_text().replace("a.png", outside))
    with pytest.raises(FormatError, match=r"p\.json, annotations\[0\]: .*outside\.png (is an absolute path|leads out)"):
        read_predictions(path)


def test_a_name_that_became_one_outside_after_reading_is_not_written_to(tmp_path):
    path = make_panoptic(tmp_path, ["a"])
    source = path.with_suffix("") / "a.png"
    before, content = source.read_bytes(), json.loads(path.read_text())
    content["annotations"][0]["file_name"] = str(source)
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match="is an absolute path; give it relative"):
        write_panoptic(tmp_path / "out.json", [], path)
    assert source.read_bytes() == before


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("make", [make_labelme, make_sam])
def test_names_of_images_outside_are_kept_and_never_followed(tmp_path, make, outside):
    (tmp_path / "outside.png").write_text("no image")
    (path,) = (make(tmp_path, ["a"]) / "train").iterdir()
    content = json.loads(path.read_text())
    if "image" in content:
        content["image"]["file_name"] = outside
    else:
        content["imagePath"] = outside
    path.write_text(json.dumps(content))
    sizes = {"outside": SIZE}
    found = read_predictions(path, image_sizes=lambda: sizes)
    found.write(tmp_path / "out.json", found.entries)
    assert (tmp_path / "out.json").read_bytes() == path.read_bytes()
    with pytest.raises(FormatError, match="outside is none of the 1 images"):
        read_predictions(path, image_sizes=lambda: {"a": SIZE})


@pytest.mark.parametrize("outside", OUTSIDE)
def test_results_name_files_that_are_not_written_to(tmp_path, outside):
    (tmp_path / "r.json").write_text(json.dumps([{**results(["a"])[0], "file_name": outside, "mask_file": outside}]))
    predictions = read_predictions(tmp_path / "r.json")
    predictions.write(tmp_path / "out.json", predictions.entries)
    assert json.loads((tmp_path / "out.json").read_text())[0]["file_name"] == outside
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", "out.json"}
    assert not Path("/tmp/outside.png").exists()
