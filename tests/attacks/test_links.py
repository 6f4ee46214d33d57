"""Links lead what is written to a file elsewhere, or a reader around in circles."""

import os

import numpy as np
import pytest

from bpr.data.image_finder import ImageFinder
from bpr.formats.errors import FormatError
from bpr.formats.faults import Faults
from bpr.formats.files import write_text
from bpr.formats.predictions import read_predictions
from bpr.formats.protection import Inputs
from bpr.structures import OnError
from samples import MAKE, SIZE, save

IN_FOLDERS = ["cityscapes", "masks", "yolo", "labelme", "sam"]
SIZES = {"a": SIZE}


@pytest.mark.parametrize("name", [*IN_FOLDERS, "panoptic"])
def test_masks_that_are_links_are_read_and_written_as_files(tmp_path, name):
    (tmp_path / "in").mkdir()
    path = MAKE[name](tmp_path / "in", ["a"])
    folder = path.with_suffix("") if name == "panoptic" else path
    for number, file in enumerate([file for file in folder.rglob("*") if file.is_file()]):
        file.rename(tmp_path / str(number))
        file.symlink_to(tmp_path / str(number))
    before = {file: file.read_bytes() for file in tmp_path.glob("[0-9]*")}
    found = read_predictions(path, image_sizes=lambda: SIZES)
    changed = [{**entry, "segmentation": found.entries[0]["segmentation"]} for entry in found.entries]
    found.write(tmp_path / "out" / path.name, changed)
    assert not any(file.is_symlink() for file in (tmp_path / "out").rglob("*"))
    assert {file: file.read_bytes() for file in before} == before


def test_a_link_in_the_place_of_an_output_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out.json").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "out.json", "[]")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "out.json").is_symlink()


@pytest.mark.parametrize("name", IN_FOLDERS)
@pytest.mark.parametrize("target", ["nowhere", "circle"])
def test_links_that_lead_nowhere_are_named(tmp_path, name, target):
    path = MAKE[name](tmp_path, ["a"])
    for file in [
        file for file in path.rglob("*") if file.is_file() and (file.suffix == ".png" or name != "cityscapes")
    ]:
        file.unlink()
        file.symlink_to(file if target == "circle" else tmp_path / target)
    with pytest.raises((FormatError, OSError), match=str(path)):
        read_predictions(path, name, image_sizes=lambda: SIZES)


@pytest.mark.parametrize("name", ["masks", "labelme", "sam"])
@pytest.mark.parametrize("target", ["nowhere", "circle"])
def test_where_bad_files_are_kept_links_that_lead_nowhere_come_back_as_links(tmp_path, name, target):
    path = MAKE[name](tmp_path, ["a", "b"])
    bad = max(file for file in path.rglob("*") if file.is_file() and file.suffix in (".png", ".json"))
    bad.unlink()
    bad.symlink_to(bad if target == "circle" else tmp_path / target)
    faults = Faults(OnError.keep)
    found = read_predictions(path, name, image_sizes=lambda: {"a": SIZE, "b": SIZE}, faults=faults)
    assert [bad.name in fault.place for fault in faults.found] == [True]
    found.write(tmp_path / "out" / path.name, found.entries)
    written = tmp_path / "out" / path.name / bad.relative_to(path)
    assert os.readlink(written) == os.readlink(bad)


def test_folders_that_hold_themselves_are_read_once(tmp_path):
    path = MAKE["masks"](tmp_path, ["a"])
    expected = len(read_predictions(path, image_sizes=lambda: SIZES).entries)
    (path / "labels" / "again").symlink_to(path)
    (path / "labels" / "all").symlink_to("/")
    assert len(read_predictions(path, image_sizes=lambda: SIZES).entries) == expected


@pytest.mark.parametrize("name", IN_FOLDERS)
def test_folders_that_are_links_are_passed_over_and_named(tmp_path, name):
    path = MAKE[name](tmp_path, ["a"])
    before = read_predictions(path, name, image_sizes=lambda: SIZES)
    (tmp_path / "elsewhere").mkdir()
    for link in ("val", ".hidden"):
        (path / link).symlink_to(MAKE[name](tmp_path / "elsewhere", ["b"]) if link == "val" else tmp_path)
    found = read_predictions(path, name, image_sizes=lambda: SIZES)
    assert list(found.entries) == list(before.entries)
    assert "1 link to folders passed over (val); put the folders there, or refine them apart" in found.notes


@pytest.mark.parametrize("target", ["nowhere.png", "a.png"])
def test_images_that_are_such_links_are_missing(tmp_path, target):
    (tmp_path / "a.png").symlink_to(tmp_path / target)
    with pytest.raises(FormatError, match=r"a\.png: is a link to a file that is missing.*; .* needed by entry 3"):
        ImageFinder(tmp_path).named("a.png", "entry 3")


def test_an_output_that_is_a_circle_is_refused(tmp_path):
    save(tmp_path / "in.png", np.zeros(SIZE, np.uint8))
    (tmp_path / "out").symlink_to(tmp_path / "out")
    inputs = Inputs.of([tmp_path / "in.png"])
    with pytest.raises(FormatError, match="give `output` another name"):
        inputs.check_folder(tmp_path / "out", replace=True)
    inputs.check_file(tmp_path / "out")  # the link is replaced, and leads to nothing
