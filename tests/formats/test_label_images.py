import numpy as np
import pytest
from PIL import Image

from bpr.formats.errors import FormatError
from bpr.formats.label_images import VOC_COLOURS, read_labels, save_like


def test_the_colours_of_pascal_voc():
    """As its devkit prints them for the background, an aeroplane, a bicycle, a tv monitor and the void."""
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {value: tuple(VOC_COLOURS[value].tolist()) for value in expected} == expected
    assert len(np.unique(VOC_COLOURS, axis=0)) == 256


def test_colours_of_pascal_voc_are_labels_and_come_back(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    Image.fromarray(VOC_COLOURS[values]).save(tmp_path / "a.png")
    assert (read_labels(tmp_path / "a.png") == values).all()
    save_like(tmp_path / "a.png", values[::-1], tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert (np.asarray(image) == VOC_COLOURS[values[::-1]]).all()


@pytest.mark.parametrize("transparent", [0, bytes([0, 128, 255])])
def test_transparent_values_stay_transparent(tmp_path, transparent):
    values = (np.arange(24).reshape(4, 6) % 3).astype(np.uint8)
    image = Image.fromarray(values)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", transparency=transparent)
    save_like(tmp_path / "a.png", values[::-1], tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "b.png") as after:
        assert after.mode == before.mode == "P"
        assert np.array_equal(np.asarray(after.convert("RGBA")), np.asarray(before.convert("RGBA"))[::-1])


@pytest.mark.parametrize("colour", [(128, 0, 1), (255, 255, 255), (1, 2, 3)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_other_colours_are_no_labels(tmp_path, colour, mode):
    image = Image.new("RGB", (4, 4))
    image.putpixel((2, 1), colour)
    image.convert(mode).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match="must have one channel"):
        read_labels(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "how"), [("a.png", {"format": "JPEG"}), ("a.tif", {"compression": "jpeg"})])
def test_a_jpeg_is_refused_under_any_name(tmp_path, name, how):
    Image.new("L", (30, 20)).save(tmp_path / name, **how)
    with pytest.raises(FormatError, match=rf"{name}: JPEG masks are not read"):
        read_labels(tmp_path / name)


def test_a_stack_of_pages_is_refused_and_an_overview_is_not(tmp_path):
    labels = Image.fromarray(np.eye(8, dtype=np.uint8))
    labels.save(tmp_path / "a.tif", save_all=True, append_images=[labels])
    with pytest.raises(FormatError, match=r"a\.tif: has 2 pages, of which one would be read; save each as a file"):
        read_labels(tmp_path / "a.tif")
    labels.save(tmp_path / "b.tif", save_all=True, append_images=[labels.resize((4, 4))])
    assert np.array_equal(read_labels(tmp_path / "b.tif"), np.eye(8))
    content = bytearray((tmp_path / "b.tif").read_bytes())
    content[content.rindex((4).to_bytes(2, "little")) :] = b"\0"  # the second page
    (tmp_path / "c.tif").write_bytes(content)
    assert np.array_equal(read_labels(tmp_path / "c.tif"), np.eye(8))
