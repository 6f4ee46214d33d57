import os

import pytest

from bpr.formats.errors import FormatError
from bpr.refine.inputs import choose_output, read_input


@pytest.fixture
def given_input(toy_coco):
    return read_input(toy_coco.images, toy_coco.predictions)


def test_the_output_is_in_the_folder_of_the_run_by_default(given_input, tmp_path):
    assert choose_output(None, given_input, tmp_path, False) == tmp_path / "refined.json"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy/coarse.json", "is the input"),
        ("toy", "is a folder"),
        ("a.jsonl", "let `output` end in .json"),
        ("a.jsonl.gz", "let `output` end in .json"),
        ("pipe", "neither a file nor a folder"),
    ],
)
def test_an_output_that_would_lose_something_is_refused(given_input, tmp_path, name, message):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match=message):
        choose_output(tmp_path / name, given_input, tmp_path, False)
