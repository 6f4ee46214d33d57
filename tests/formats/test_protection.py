import importlib
import os

import pytest

from bpr.formats.errors import FormatError
from bpr.formats.protection import Inputs, is_own

PAGE = '<!DOCTYPE html><meta charset="utf-8"><meta name="generator" content="bpr 1.0">'


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text("{}")
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.jpg").write_text("pixels")
    return folder


@pytest.mark.parametrize("spelling", ["itself", "detour", "link", "hard link", "link to its folder"])
def test_an_input_is_refused_under_all_its_names(tmp_path, truth, spelling):
    os.symlink(truth, tmp_path / "link.json")
    os.link(truth, tmp_path / "hard.json")
    os.symlink(tmp_path, tmp_path / "folder")
    names = {"itself": "truth.json", "detour": "new/../truth.json", "link": "link.json", "hard link": "hard.json"}
    output = tmp_path / names.get(spelling, "folder/truth.json")
    with pytest.raises(FormatError, match="inputs are never written over"):
        Inputs.of([truth]).check_file(output)


def test_nothing_is_written_into_a_folder_that_is_read(tmp_path):
    (tmp_path / "gtFine").mkdir()
    os.symlink("/nowhere", tmp_path / "gtFine" / "link.json")
    inputs = Inputs.of([tmp_path / "gtFine"])
    for name in ("gtFine/new.json", "gtFine/deep/new.json", "gtFine/link.json"):
        with pytest.raises(FormatError, match="lies in the input"):
            inputs.check_file(tmp_path / name)
    with pytest.raises(FormatError, match="is the input"):
        inputs.check_folder(tmp_path / "gtFine", replace=True)
    inputs.check_file(tmp_path / "beside.json")


def test_another_file_is_replaced_only_on_demand(tmp_path):
    (tmp_path / "old.json").write_text("mine")
    os.symlink(tmp_path / "not yet", tmp_path / "dangling.json")
    for name in ("old.json", "dangling.json"):
        with pytest.raises(FormatError, match="overwrite=true"):
            Inputs.of([]).check_file(tmp_path / name, replace=False)
        Inputs.of([]).check_file(tmp_path / name, replace=True)
    Inputs.of([]).check_file(tmp_path / "new.json", replace=False)


def test_among_the_images_only_new_files_are_written(images):
    inputs = Inputs.of([], images)
    inputs.check_file(images / "refined.json", replace=False)
    inputs.check_folder(images / "new", replace=False)
    with pytest.raises(FormatError, match="folder of the images"):
        inputs.check_file(images / "a.jpg", replace=True)  # not read in this run, but no less the user's
    (images / "sub").mkdir()
    inputs.check_folder(images / "sub", replace=False)
    (images / "sub" / "b.jpg").write_text("pixels")
    for folder in (images, images / "sub"):
        with pytest.raises(FormatError, match="folder of the images"):
            inputs.check_folder(folder, replace=True)


def test_a_folder_that_holds_an_input_is_refused(tmp_path, truth, images):
    (tmp_path / "weights").mkdir()
    with pytest.raises(FormatError, match=r"holds .*truth\.json, which is an input"):
        Inputs.of([truth]).check_folder(tmp_path, replace=True)
    with pytest.raises(FormatError, match=r"holds .*images, which is an input"):
        Inputs.of([], images).check_folder(tmp_path, replace=True)


def test_files_in_an_output_folder_are_replaced_only_on_demand(tmp_path):
    (tmp_path / "old").mkdir()
    Inputs.of([]).check_folder(tmp_path / "old", replace=False)
    (tmp_path / "old" / "a.png").write_text("mine")
    with pytest.raises(FormatError, match=r"is not empty; give another `output`, or overwrite=true"):
        Inputs.of([]).check_folder(tmp_path / "old", replace=False)
    Inputs.of([]).check_folder(tmp_path / "old", replace=True)


def test_what_is_no_file_or_no_folder_is_refused(tmp_path, truth):
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "pipe", "neither a file nor a folder")):
        with pytest.raises(FormatError, match=message):
            Inputs.of([]).check_file(path)
    with pytest.raises(FormatError, match="is a file, but a folder"):
        Inputs.of([]).check_folder(truth, replace=True)


def test_a_page_of_this_program_is_replaced_and_one_of_the_user_is_not(tmp_path, images):
    for folder in (tmp_path, images):
        page = folder / "refined.html"
        page.write_text(PAGE)
        Inputs.of([], images).check_file(page, replace=False)
        page.write_text(PAGE.replace("bpr", "hugo"))
        assert not is_own(page)
        with pytest.raises(FormatError):
            Inputs.of([], images).check_file(page, replace=False)
    assert not is_own(tmp_path / "nowhere.html")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("bpr.evaluation.__main__", ["{coarse}", "{truth}", "--json", "{mine}"]),
        ("bpr.benchmark.__main__", ["--device", "cpu", "--json", "{mine}"]),
        ("bpr.benchmark.stress", ["--images", "{images}", "--annotations", "{truth}", "--json", "{mine}"]),
        ("bpr.models.export", ["hrnet18s", "{mine}"]),
        ("bpr.models.averaging", ["hrnet18s", "hrnet18s", "{mine}"]),
        ("bpr.data.split", ["{truth}", "--holdout", "1", "--output", "{folder}"]),
        ("bpr.report.front_page", ["{picture}"]),
    ],
)
def test_no_command_replaces_a_file_that_it_was_not_told_to(toy_coco, tmp_path, capsys, module, arguments):
    mine, picture = (tmp_path / "holdout" / name for name in (toy_coco.annotations.name, "mine.png"))
    mine.parent.mkdir()
    mine.write_text("mine")
    picture.write_text("mine")
    names = {"coarse": toy_coco.predictions, "truth": toy_coco.annotations, "images": toy_coco.images}
    given = [argument.format(mine=mine, picture=picture, folder=tmp_path, **names) for argument in arguments]
    assert importlib.import_module(module).main(given) != 0
    assert mine.read_text() == picture.read_text() == "mine"
    assert "or --overwrite to replace it" in capsys.readouterr().err
