import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch.utils.data import DataLoader, Dataset

from bpr import rle
from bpr.data.image_records import refinement_records
from bpr.data.images import as_rgb, image_sizes, read_image
from bpr.formats import coco
from bpr.formats.errors import FormatError
from bpr.formats.label_images import read_labels
from bpr.formats.predictions import Predictions
from bpr.structures import ExifUse

SIZE = (20, 30)


@pytest.fixture
def pixels():
    ys, xs = np.mgrid[:20, :30]
    return np.stack([xs * 8, ys * 12, (xs + ys) * 5], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "bmp"])
def test_lossless_formats_give_their_pixels(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read_image(path, SIZE), pixels)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("CMYK", "jpg"), ("RGB", "jpg"), ("RGBA", "png"), ("P", "png"), ("YCbCr", "jpg")]
)
def test_colours_survive_their_mode(tmp_path, pixels, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).convert(mode, palette=Image.Palette.ADAPTIVE).save(
        path, **({"quality": 95} if suffix == "jpg" else {})
    )
    read = read_image(path, SIZE)
    assert read.shape == (*SIZE, 3)
    # JPEG and palettes lose some.
    assert np.abs(read.astype(int) - pixels).mean() < (0.1 if mode == "RGBA" else 12)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_scaled(tmp_path, pixels, suffix):
    grey = pixels[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}", SIZE), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("bits", [8, 10, 12, 15])
def test_fewer_bits_of_16_are_scaled_as_far_as_they_are_in_use(tmp_path, pixels, bits):
    grey = pixels[..., 0].copy()
    grey[0, 0] = 255
    highest = 2**bits - 1
    Image.fromarray(np.rint(grey * (highest / 255)).astype(np.uint16)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", SIZE)[..., 0], grey)


@pytest.mark.parametrize("scale", [1, 255])
def test_floating_point_grey_is_scaled(tmp_path, pixels, scale):
    grey = pixels[..., 0]
    Image.fromarray((grey / scale).astype(np.float32)).save(tmp_path / "a.tiff")
    assert np.array_equal(read_image(tmp_path / "a.tiff", SIZE)[..., 1], grey)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_is_repeated(tmp_path, pixels, mode):
    image = Image.fromarray(pixels[..., 0]).convert(mode)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", SIZE), np.asarray(image.convert("RGB")))


def turned(tmp_path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    return tmp_path / "a.png"


def test_masks_decide_about_a_quarter_turn(tmp_path, pixels):
    path = turned(tmp_path, pixels, 6)
    clockwise = np.rot90(pixels, -1)
    assert image_sizes(path) == ((20, 30), (30, 20))
    assert np.array_equal(read_image(path, (20, 30)), pixels)
    assert np.array_equal(read_image(path, (30, 20)), clockwise)
    assert np.array_equal(read_image(path, (30, 20), ExifUse.apply), clockwise)
    with pytest.raises(FormatError, match=r"is \(20, 30\) .*its masks are \(30, 20\)"):
        read_image(path, (30, 20), ExifUse.ignore)


def test_half_a_turn_is_applied_unless_it_is_to_be_ignored(tmp_path, pixels):
    path = turned(tmp_path, pixels, 3)
    assert np.array_equal(read_image(path, SIZE), pixels[::-1, ::-1])
    assert np.array_equal(read_image(path, SIZE, ExifUse.ignore), pixels)


@pytest.mark.parametrize("exif", list(ExifUse))
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_tiffs_are_turned_once(tmp_path, pixels, orientation, turns, exif):
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    expected = np.rot90(pixels, turns)
    size = expected.shape[:2]
    assert image_sizes(tmp_path / "a.tif") == (size, size)
    assert np.array_equal(read_image(tmp_path / "a.tif", size, exif), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1"])
def test_turned_tiffs_of_other_modes_are_those_that_pillow_gives_of_bytes(tmp_path, pixels, mode):
    grey = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else None
    (grey or Image.fromarray(pixels).convert(mode)).save(tmp_path / "a.tif", tiffinfo={274: 6})
    expected = np.asarray(Image.open(io.BytesIO((tmp_path / "a.tif").read_bytes())))
    assert expected.shape[:2] == (30, 20)
    assert read_image(tmp_path / "a.tif", (30, 20)).shape == (30, 20, 3)
    if mode != "RGBA":
        assert np.array_equal(read_labels(tmp_path / "a.tif"), expected)
    upright = tmp_path / "b.tif"
    Image.open(io.BytesIO((tmp_path / "a.tif").read_bytes())).save(upright)
    assert np.array_equal(read_image(tmp_path / "a.tif", (30, 20)), read_image(upright, (30, 20)))


@pytest.mark.parametrize("exif", list(ExifUse))
@pytest.mark.parametrize("orientation", [3, 6])
def test_what_a_png_says_in_xmp_does_not_turn_it(tmp_path, pixels, orientation, exif):
    xmp = PngInfo()
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="{orientation}"/></x:xmpmeta>'
    xmp.add_itxt("XML:com.adobe.xmp", packet)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=xmp)
    assert Image.open(tmp_path / "a.png").getexif()[0x0112] == orientation  # Pillow would
    assert np.array_equal(read_image(tmp_path / "a.png", SIZE, exif), pixels)


@pytest.mark.parametrize(
    ("size", "exif"), [((20, 30), ExifUse.auto), ((30, 20), ExifUse.auto), ((30, 20), ExifUse.apply)]
)
def test_predictions_on_either_frame_find_their_image(tmp_path, pixels, size, exif):
    turned(tmp_path, pixels, 6)
    entry = {"image_id": "a", "category_id": 1, "score": 1.0, "segmentation": rle.encode(np.ones(size, bool))}
    record = refinement_records(tmp_path, Predictions(tmp_path / "r.json", coco.FORMAT, [entry]), exif=exif)[0]
    assert record.size == size
    assert read_image(record.path, record.size, record.exif).shape[:2] == size


def test_very_large_images_are_read(tmp_path):
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    assert image_sizes(tmp_path / "a.png")[0] == (20000, 20000)


PEAK = """
import resource, sys
from pathlib import Path
from bpr.data.images import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_image(Path(sys.argv[1]), (4000, 6000))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_reading_copies_the_pixels_but_once(tmp_path, mode):
    Image.new(mode, (6000, 4000)).save(tmp_path / "a.jpg")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "a.jpg")]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Pillow's own 4 bytes a pixel, our 3, and bands; copies of the whole image would be 3 or 4 more each.
    assert grown < 8.5 * 4000 * 6000


def test_images_of_several_bands_are_whole(tmp_path):
    tall = np.random.default_rng(0).integers(0, 256, (1100, 7, 3), dtype=np.uint8)
    Image.fromarray(tall).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", (1100, 7)), tall)


def test_alpha_of_arrays_is_dropped(pixels):
    assert np.array_equal(as_rgb(np.dstack([pixels, pixels[..., 0]])), pixels)


def test_alpha_of_images_in_memory_is_dropped(pixels):
    assert np.array_equal(as_rgb(Image.fromarray(np.dstack([pixels, pixels[..., 0]]))), pixels)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(FormatError, match=r"a\.png: cannot be decoded"):
        read_image(tmp_path / "a.png", SIZE)
    with pytest.raises(FormatError, match=r"a\.png: cannot be decoded"):
        image_sizes(tmp_path / "a.png")


def test_sizes_come_from_the_header_alone(tmp_path, pixels):
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:60])
    assert image_sizes(path) == ((20, 30), (20, 30))


def test_wide_images_in_memory_are_scaled_too(pixels):
    grey = pixels[..., 0]
    assert np.array_equal(as_rgb(Image.fromarray(grey.astype(np.uint16) * 257))[..., 2], grey)


def test_empty_images_in_memory_are_refused():
    with pytest.raises(ValueError, match="must be"):
        as_rgb(Image.new("RGB", (0, 5)))


class OneImage(Dataset):
    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, number):
        return read_image(self.path, (1, 1))


def test_a_damaged_image_is_the_same_error_from_a_worker_process(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(FormatError) as here:
        read_image(tmp_path / "a.png", (1, 1))
    with pytest.raises(FormatError) as from_worker:
        next(iter(DataLoader(OneImage(tmp_path / "a.png"), num_workers=1)))
    assert str(from_worker.value) == str(here.value)


def test_what_is_no_image_is_named_also_where_ultralytics_has_replaced_pillows_open(tmp_path, monkeypatch):
    opened = Image.open

    def open_as_ultralytics(path, **options):
        try:
            return opened(path, **options)
        except Exception:
            raise ModuleNotFoundError("No module named 'pi_heif'")  # noqa: B904 (as it does)

    monkeypatch.setattr(Image, "open", open_as_ultralytics)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"a\.png: cannot be decoded \(cannot identify"):
        read_image(tmp_path / "a.png", SIZE)
