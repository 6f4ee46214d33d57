import os

import pytest
from PIL import Image

from bpr.data.inputs import read_input
from bpr.formats.errors import FormatError
from bpr.refine.outputs import check_companions, choose_output
from samples import MAKE, SIZE


@pytest.fixture
def given_input(toy_coco):
    return read_input(toy_coco.images, toy_coco.predictions, toy_coco.annotations)


def test_the_output_is_in_the_folder_of_the_run_by_default(given_input, tmp_path):
    assert choose_output(None, given_input, tmp_path, False, given_input.inputs()) == tmp_path / "refined.json"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy/coarse.json", "is the input"),
        ("toy/instances.json", "is the input"),
        ("toy/images/000000000010.png", "is the input"),
        ("toy/images/000000000014.png", "exists in the folder of the images"),  # without predictions: not read
        ("toy", "is a folder"),
        ("a.jsonl", "let `output` end in .json"),
        ("a.jsonl.gz", "let `output` end in .json"),
        ("pipe", "neither a file nor a folder"),
    ],
)
def test_an_output_that_would_lose_something_is_refused(given_input, tmp_path, name, message, overwrite):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match=message):
        choose_output(tmp_path / name, given_input, tmp_path, overwrite, given_input.inputs())


def test_a_photograph_outside_of_the_images_folder_is_an_input_too(toy_coco, tmp_path):
    photo = toy_coco.images / "000000000010.png"
    photo.rename(tmp_path / "photo.json")
    os.symlink(tmp_path / "photo.json", photo)
    given = read_input(toy_coco.images, toy_coco.predictions, toy_coco.annotations)
    with pytest.raises(FormatError, match="is the input"):
        choose_output(tmp_path / "photo.json", given, tmp_path, True, given.inputs())


def test_a_panoptic_output_has_a_suffix_so_that_file_and_folder_have_two_names(toy_coco, tmp_path):
    path = MAKE["panoptic"](tmp_path, ["10"])
    (tmp_path / "photos").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "photos" / "0.png")
    given = read_input(tmp_path / "photos", path)
    with pytest.raises(FormatError, match=r"has no suffix, but .* end it in \.json"):
        choose_output(tmp_path / "refined", given, tmp_path, False, given.inputs())


def test_an_existing_output_is_replaced_on_demand(given_input, tmp_path):
    output = tmp_path / "refined.json"
    output.write_text("mine")
    with pytest.raises(FormatError, match="exists; give another `output`, or overwrite=true to replace it"):
        choose_output(output, given_input, tmp_path, False, given_input.inputs())
    assert choose_output(output, given_input, tmp_path, True, given_input.inputs()) == output


def test_beside_the_output_no_page_or_sheet_of_the_user_is_replaced(given_input, tmp_path):
    output, inputs = tmp_path / "refined.json", given_input.inputs()
    (tmp_path / "refined.html").write_text("notes")
    (tmp_path / "refined_contact_sheet.png").write_text("a picture")
    check_companions(output, inputs, False)
    for asked in ({"report": True}, {"contact_sheet": True}):
        with pytest.raises(FormatError, match="overwrite=true"):
            check_companions(output, inputs, False, **asked)
        check_companions(output, inputs, True, **asked)
