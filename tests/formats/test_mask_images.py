import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.mask_images import read_mask_images, write_mask_images

NAMES = {"a", "a_b", "c"}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def read_masks(folder):
    return read_mask_images(folder, NAMES).entries


def labels(dtype=np.uint8):
    array = np.zeros((20, 30), dtype)
    array[2:10, 2:10], array[2:10, 10:20] = 3, 7
    return array


def one_mask(dtype=np.uint8):
    return ((labels() > 0) * 7).astype(dtype)


def test_a_label_image_has_an_instance_for_each_value(tmp_path):
    save(tmp_path / "masks" / "a.png", labels())
    entries = read_masks(tmp_path / "masks")
    assert [(e["image_id"], e["value"], rle.area(e["segmentation"])) for e in entries] == [("a", 3, 64), ("a", 7, 80)]


@pytest.mark.parametrize(
    ("name", "image"), [("a_1.png", "a"), ("a_b_2.png", "a_b"), ("c/x.png", "c"), ("c-1.png", "c")]
)
def test_a_mask_belongs_to_the_image_it_is_named_after(tmp_path, name, image):
    save(tmp_path / "masks" / name, one_mask())
    entries = read_masks(tmp_path / "masks")
    assert [(e["image_id"], e["value"], rle.area(e["segmentation"])) for e in entries] == [(image, None, 144)]


@pytest.mark.parametrize(("at", "value"), [(11, 5), (37, 255)])  # a short header; a chunk of no known type
def test_a_damaged_file_is_named(tmp_path, at, value):
    save(tmp_path / "masks" / "a_1.png", one_mask())
    content = bytearray((tmp_path / "masks" / "a_1.png").read_bytes())
    content[at] = value
    (tmp_path / "masks" / "a_1.png").write_bytes(content)
    with pytest.raises(FormatError, match=r"a_1\.png: cannot be decoded"):
        read_masks(tmp_path / "masks")


def test_hidden_files_are_no_masks(tmp_path):
    save(tmp_path / "masks" / "a_1.png", one_mask())
    expected = read_masks(tmp_path / "masks")
    (tmp_path / "masks" / "._a_1.png").write_bytes(b"\x00\x05\x16 no image")
    save(tmp_path / "masks" / ".ipynb_checkpoints" / "c.png", labels())
    assert read_masks(tmp_path / "masks") == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_are_written_as_they_were(tmp_path, dtype):
    save(tmp_path / "masks" / "a.png", labels(dtype))
    save(tmp_path / "masks" / "c" / "0.png", one_mask(dtype))
    entries = read_masks(tmp_path / "masks")
    write_mask_images(tmp_path / "out", entries, tmp_path / "masks")
    for name in ("a.png", "c/0.png"):
        before, after = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("masks", "out"))
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)


def test_overlaps_stay_with_the_instance_that_had_the_pixel(tmp_path):
    save(tmp_path / "masks" / "a.png", labels())
    entries = read_masks(tmp_path / "masks")
    everywhere = rle.encode(np.ones((20, 30), bool))
    write_mask_images(tmp_path / "out", [{**e, "segmentation": everywhere} for e in entries], tmp_path / "masks")
    written = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert (written[labels() == 3] == 3).all()
    assert (written[labels() != 3] == 7).all()


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(FormatError, match="has no masks"):
        read_masks(tmp_path / "masks")
    save(tmp_path / "masks" / "a.png", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(FormatError, match=r"a\.png: must have one channel"):
        read_masks(tmp_path / "masks")
    (tmp_path / "masks" / "a.png").unlink()
    save(tmp_path / "masks" / "z.png", labels())
    with pytest.raises(FormatError, match=r"z\.png: belongs to none of the 3 images"):
        read_masks(tmp_path / "masks")


def test_images_without_instances_and_the_modes_of_files_are_kept(tmp_path):
    save(tmp_path / "masks" / "a.png", np.zeros((20, 30), np.uint8))
    palette = Image.fromarray(labels())
    palette.putpalette([0, 0, 0, 255, 0, 0] * 128)
    palette.save(tmp_path / "masks" / "c.png")
    save(tmp_path / "masks" / "a_b_1.png", labels() > 0)
    write_mask_images(tmp_path / "out", read_masks(tmp_path / "masks"), tmp_path / "masks")
    for name, mode in (("a.png", "L"), ("c.png", "P"), ("a_b_1.png", "1")):
        before, after = (Image.open(tmp_path / folder / name) for folder in ("masks", "out"))
        assert after.mode == before.mode == mode
        assert np.array_equal(np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB")))
