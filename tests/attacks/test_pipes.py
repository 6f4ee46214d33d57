"""Pipes in the place of files: who opens one for reading waits for ever."""

import gzip
import os
import signal

import pytest

from bpr.data.images import read_image
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.files import UnpackedCopy
from bpr.formats.predictions import read_predictions
from samples import MAKE, SIZE


@pytest.fixture(autouse=True)
def not_for_ever():
    """End the tests, with SIGALRM, if one waits for somebody to write."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("read", [read_predictions, read_annotations, lambda path: read_image(path, SIZE)])
def test_a_pipe_is_refused(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FormatError, match=r"pipe\.json: is a pipe or device"):
        read(tmp_path / "pipe.json")


@pytest.mark.parametrize("name", ["masks", "yolo", "labelme", "sam", "panoptic"])
def test_pipes_in_a_folder_are_refused(tmp_path, name):
    path = MAKE[name](tmp_path, ["a"])
    folder = path.with_suffix("") if name == "panoptic" else path
    read = ".png" if name in ("masks", "panoptic") else ""
    first = min(file for file in folder.rglob("*") if file.is_file() and file.name.endswith(read))
    first.unlink()
    os.mkfifo(first)
    with pytest.raises(FormatError, match="is a pipe or device"):
        read_predictions(path, name, image_sizes=lambda: {"a": SIZE})


def test_a_pipe_named_as_a_copy_that_was_left_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    os.mkfifo(tmp_path / "bpr-x.unpacked")
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(b"[]"))
    assert UnpackedCopy(tmp_path / "r.json.gz").path.read_bytes() == b"[]"
    assert (tmp_path / "bpr-x.unpacked").is_fifo()
