"""Pipes in the place of files: who opens one for reading waits for ever."""

import os

import pytest

from bpr.data.images import read_image
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.predictions import read_predictions
from samples import MAKE, SIZE


@pytest.mark.parametrize("read", [read_predictions, read_annotations, lambda path: read_image(path, SIZE)])
def test_a_pipe_is_refused(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FormatError, match=r"pipe\.json: .*it is a pipe or device"):
        read(tmp_path / "pipe.json")


@pytest.mark.parametrize("name", ["masks", "yolo", "labelme", "sam", "panoptic"])
def test_pipes_in_a_folder_are_refused(tmp_path, name):
    path = MAKE[name](tmp_path, ["a"])
    folder = path.with_suffix("") if name == "panoptic" else path
    read = ".png" if name in ("masks", "panoptic") else ""
    first = min(file for file in folder.rglob("*") if file.is_file() and file.name.endswith(read))
    first.unlink()
    os.mkfifo(first)
    with pytest.raises(FormatError, match="it is a pipe or device"):
        read_predictions(path, name, image_sizes=lambda: {"a": SIZE})
