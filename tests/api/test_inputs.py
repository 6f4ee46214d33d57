import numpy as np
import pytest
import torch
from PIL import Image

from bpr import rle
from bpr.api.inputs import read_pair
from bpr.api.interop import masks_of
from bpr.api.polygons import from_polygons


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def image_of(given, size=(20, 30)):
    image, masks = read_pair(given, lambda found: masks_of(np.zeros((1, *size), bool), found))
    assert image.shape[:2] == masks.arrays.shape[1:]
    return image


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_may_come_first_or_last(pixels, kind, channels):
    last = np.dstack([pixels, pixels[..., 0]])[..., :channels]
    first = np.ascontiguousarray(np.moveaxis(last, -1, 0))
    expected = pixels if channels > 1 else np.repeat(pixels[..., :1], 3, axis=2)
    assert np.array_equal(image_of(kind(last)), expected)
    assert np.array_equal(image_of(kind(first)), expected)


def test_channels_come_last_where_both_are_possible(pixels):
    assert np.array_equal(image_of(pixels[:3], (3, 30)), pixels[:3])
    narrow = np.ascontiguousarray(pixels[:3, :4])
    assert np.array_equal(image_of(narrow, (3, 4)), narrow)


def test_floats_are_refused_with_a_remedy(pixels):
    with pytest.raises(TypeError, match=r"got float32 \(3, 20, 30\); convert it, and multiply .* by 255"):
        image_of(torch.from_numpy(pixels).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_paths_are_read(pixels, tmp_path, kind):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(image_of(kind(tmp_path / "a.png")), pixels)


@pytest.fixture
def turned(pixels, tmp_path):
    """Path of an image that EXIF turns by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    return tmp_path / "a.png"


def test_masks_decide_whether_a_file_is_turned(pixels, turned):
    assert np.array_equal(image_of(turned), pixels)
    assert np.array_equal(image_of(turned, (30, 20)), np.rot90(pixels, -1))
    code = rle.encode(np.ones((20, 30), bool))
    assert read_pair(turned, lambda size: masks_of([code], size))[0].shape == (20, 30, 3)


def test_masks_without_a_size_are_of_the_turned_image(turned):
    polygons = [np.array([[1, 1], [15, 1], [15, 25]])]
    assert read_pair(turned, lambda size: from_polygons(polygons, size))[0].shape == (30, 20, 3)


def test_masks_of_neither_size_are_refused(turned):
    with pytest.raises(ValueError, match=r"the masks are \(5, 5\) \(h, w\), but the image is \(20, 30\)"):
        image_of(turned, (5, 5))


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png: cannot be decoded"):
        image_of(tmp_path / "a.png")
