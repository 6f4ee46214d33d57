import json

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.data.image_finder import ImageFinder, SizesInFolder
from bpr.data.image_records import refinement_records
from bpr.data.inputs import read_input
from bpr.formats.errors import FormatError
from bpr.formats.predictions import read_predictions
from bpr.structures import ExifUse
from samples import MAKE, SIZE


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ones((20, 30), np.uint8)).save(path)
    return path


def by_id(folder, image_id):
    return ImageFinder(folder).by_id(image_id, folder / "results.json", "entry 0")


@pytest.mark.parametrize("image_id", [12, "000012"])
def test_an_image_below_the_folder_is_found_by_id(tmp_path, image_id):
    expected = save(tmp_path / "city" / "000012.png")
    assert by_id(tmp_path, image_id) == expected


@pytest.mark.parametrize("image_id", ["12", "0012", "000012.png", "left_000012.png", "city/left_000012.png"])
def test_ids_may_be_text_with_or_without_suffix(tmp_path, image_id):
    expected = save(tmp_path / "city" / "left_000012.png")
    assert by_id(tmp_path, image_id) == expected


def test_names_of_sa_1b_are_found_by_id(tmp_path):
    expected = save(tmp_path / "sa_223750.jpg")
    save(tmp_path / "sa_23750.jpg")
    assert by_id(tmp_path, 223750) == by_id(tmp_path, "sa_223750") == by_id(tmp_path, "sa_223750.jpg") == expected


def test_of_two_suffixes_the_one_in_the_id_counts(tmp_path):
    save(tmp_path / "a.jpg")
    assert by_id(tmp_path, "a.png") == tmp_path / "a.jpg"
    expected = save(tmp_path / "a.png")
    assert by_id(tmp_path, "a.png") == expected


@pytest.mark.parametrize("name", ["labelme", "sam"])
def test_the_file_that_a_label_names_is_taken_where_a_mask_is_called_alike(tmp_path, name):
    folder, images = MAKE[name](tmp_path, ["a"]), tmp_path / "images"
    images.mkdir()
    for suffix in ("jpg", "png"):
        Image.new("RGB", SIZE[::-1]).save(images / f"a.{suffix}")
    found = read_predictions(folder, image_sizes=lambda: SizesInFolder(images, folder))
    (record,) = refinement_records(images, found)
    assert record.path == images / "a.jpg"


def test_an_image_in_the_folder_itself_comes_before_those_below(tmp_path):
    expected = save(tmp_path / "left_12.png")
    save(tmp_path / "thumbnails" / "12.png")
    assert by_id(tmp_path, 12) == expected


def test_an_id_that_fits_two_images_below_the_folder_is_an_error_that_names_both(tmp_path):
    save(tmp_path / "bonn" / "12.png")
    save(tmp_path / "ulm" / "12.png")
    with pytest.raises(FormatError, match=r"fits several images \(bonn/12.png, ulm/12.png\); give annotations=FILE"):
        by_id(tmp_path, 12)


@pytest.mark.parametrize("name", ["12.txt", "12/notes.md", "._12.png", ".cache/12.png"])
def test_folders_and_other_or_hidden_files_are_no_images(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("no image")
    with pytest.raises(FormatError, match=r"entry 0: no image in .* is named after image_id 12"):
        by_id(tmp_path, 12)


def test_names_are_those_of_images_at_any_depth(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "city" / "b.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert set(SizesInFolder(tmp_path, tmp_path / "elsewhere")) == {"a", "city/b"}


def test_masks_below_the_folder_of_images_are_no_images(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "truth" / "a_1.png")
    save(tmp_path / "predictions" / "b.png")
    assert set(SizesInFolder(tmp_path, tmp_path / "predictions")) == {"a"}


def test_masks_are_joined_with_images_in_subfolders(tmp_path):
    image = save(tmp_path / "images" / "city" / "b.png")
    save(tmp_path / "images" / "masks" / "b_1.png")
    (record,) = read_input(tmp_path / "images", tmp_path / "images" / "masks").records
    assert record.path == image


def test_a_folder_name_is_no_image_name(tmp_path):
    save(tmp_path / "images" / "city" / "b.png")
    save(tmp_path / "masks" / "city" / "1.png")
    with pytest.raises(FormatError, match=r"1\.png: belongs to none of the 1 images"):
        read_input(tmp_path / "images", tmp_path / "masks")


def test_a_missing_cityscapes_image_names_the_line_that_needs_it(tmp_path):
    name = "aachen_000000_000019"
    (tmp_path / "images").mkdir()
    save(tmp_path / "coarse" / "0.png")
    (tmp_path / "coarse" / f"{name}_pred.txt").write_text("\n0.png 26 1\n")
    with pytest.raises(FormatError, match=rf"_leftImg8bit\.png: is missing; .*{name}_pred\.txt, line 2 \(.*0\.png\)"):
        read_input(tmp_path / "images", tmp_path / "coarse")


def test_cityscapes_masks_that_all_have_another_size_are_named_by_line(tmp_path):
    name = "aachen_000000_000019"
    (tmp_path / "images").mkdir()
    Image.new("RGB", (7, 5)).save(tmp_path / "images" / f"{name}_leftImg8bit.png")
    save(tmp_path / "coarse" / "0.png")
    (tmp_path / "coarse" / f"{name}_pred.txt").write_text("0.png 26 1\n")
    with pytest.raises(FormatError, match=rf"{name}_pred\.txt, line 1 \(.*0\.png\): the mask is \(20, 30\)"):
        read_input(tmp_path / "images", tmp_path / "coarse")


def test_a_mask_image_of_another_size_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (7, 5)).save(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a_1.png")
    with pytest.raises(FormatError, match=r"masks/a_1\.png: the mask is \(20, 30\) \(h, w\), its image \(5, 7\)"):
        read_input(tmp_path / "images", tmp_path / "masks")


def named(folder, file_name):
    return ImageFinder(folder).named(file_name, "entry 0")


def test_the_folder_in_a_name_is_not_passed_over_for_another_one(tmp_path):
    save(tmp_path / "camel" / "00000.jpg")
    with pytest.raises(FormatError, match=r"bear/00000\.jpg: is missing, and in another folder are only camel/00000"):
        named(tmp_path, "bear/00000.jpg")


@pytest.mark.parametrize("name", ["b.png", "city/b.png", "val/city/b.png"])
def test_folders_that_only_one_of_name_and_tree_has_do_not_matter(tmp_path, name):
    expected = save(tmp_path / "city" / "b.png")
    assert named(tmp_path, name) == expected


ELSEWHERE = [
    "C:\\data\\city\\b.png",
    "D:/city/b.png",
    "city\\b.png",
    "/home/other/city/b.png",
    "\\\\server\\city\\b.png",
]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("place", ["b.png", "city/b.png"])
def test_names_of_other_machines_are_found(tmp_path, name, place):
    expected = save(tmp_path / place)
    assert named(tmp_path, name) == expected


@pytest.mark.parametrize("name", ["C:\\data\\b.png", "/home/other/b.png"])
def test_a_missing_image_of_another_machine_is_named_with_where_it_was_looked_for(tmp_path, name):
    with pytest.raises(FormatError) as error:
        named(tmp_path, name)
    assert str(error.value).startswith(f"{name}: is missing, also by its last part below {tmp_path}; `images` must")


def test_a_base_name_in_two_folders_is_an_error_that_lists_them(tmp_path):
    save(tmp_path / "bear" / "0.jpg")
    save(tmp_path / "camel" / "0.jpg")
    with pytest.raises(FormatError, match=r"0\.jpg: is not there, and fits 2 files .* \(bear/0\.jpg, camel/0\.jpg\)"):
        named(tmp_path, "0.jpg")


def test_it_is_said_by_which_rules_images_were_found(tmp_path):
    for name in ("a.png", "b.png", "00012.png"):
        save(tmp_path / name)
    finder = ImageFinder(tmp_path)
    assert not finder.notes
    finder.named("a.png", "entry 0")
    finder.named("b.png", "entry 1")
    finder.named("city/b.png", "entry 2")
    finder.by_id(12, tmp_path, "entry 3")
    assert finder.notes == (
        "images found: 2 by file_name, 1 by base name (such as city/b.png, found as b.png), "
        "1 by image_id (such as 12, found as 00012.png)",
    )
    finder.by_id("a", tmp_path, "entry 4")
    assert finder.notes[0].endswith(", 1 by name (such as a, found as a.png)")


def test_masks_of_several_videos_are_joined_with_their_frames(tmp_path):
    images = [save(tmp_path / "JPEGImages" / video / "00000.jpg") for video in ("bear", "camel")]
    for video in ("bear", "camel"):
        save(tmp_path / "Annotations" / video / "00000.png")
    given = read_input(tmp_path / "JPEGImages", tmp_path / "Annotations")
    assert [(record.image_id, record.path) for record in given.records] == [
        ("bear/00000", images[0]),
        ("camel/00000", images[1]),
    ]


def test_frames_of_one_video_are_not_taken_for_another_one(tmp_path):
    save(tmp_path / "JPEGImages" / "bear" / "00000.jpg")
    save(tmp_path / "Annotations" / "camel" / "00000.png")
    with pytest.raises(FormatError, match=r"camel/00000\.png: belongs to none of the 1 images"):
        read_input(tmp_path / "JPEGImages", tmp_path / "Annotations")


@pytest.mark.parametrize("file_name", [5, None, ["a.png"]])
def test_a_file_name_that_is_no_text_is_a_field_like_any_other(tmp_path, file_name):
    save(tmp_path / "images" / "00012.png")
    code = rle.encode(np.ones((20, 30), bool))
    entry = {"image_id": 12, "category_id": 1, "score": 1, "segmentation": code, "file_name": file_name}
    (tmp_path / "r.json").write_text(json.dumps([entry]))
    assert len(read_input(tmp_path / "images", tmp_path / "r.json").records) == 1


def test_sizes_are_those_of_the_turned_image_unless_exif_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert SizesInFolder(tmp_path, tmp_path / "p")["a"] == (30, 20)
    assert SizesInFolder(tmp_path, tmp_path / "p", ExifUse.ignore)["a"] == (20, 30)
