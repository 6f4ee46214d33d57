"""A file says that it holds more than it does, to have memory taken for it, or pycocotools write beyond its own."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpr import rle
from bpr.data.images import image_sizes
from bpr.formats.errors import FormatError
from bpr.formats.mask_images import read_labels
from bpr.models.weights import CheckpointError, load_segmenter


def png(height, width):
    """The beginning of a grey PNG."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((60_000, 60_000), r"claims to be \(60000, 60000\) \(h, w\), for which it is too short"),
        ((2**31 - 1, 2**31 - 1), "claims to be .* too short"),
    ],
)
def test_pixels_that_a_png_cannot_hold(tmp_path, size, message):
    (tmp_path / "a.png").write_bytes(png(*size))
    for read in (read_labels, image_sizes):
        with pytest.raises(FormatError, match=rf"a\.png: {message}"):
            read(tmp_path / "a.png")


def test_more_pixels_than_a_mask_can_have(tmp_path):
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 70_000, 70_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(header)
    with pytest.raises(FormatError, match=r"a\.bmp: claims to be .* more pixels than a mask can have"):
        image_sizes(tmp_path / "a.bmp")


@pytest.mark.parametrize("length", [200 << 20, 2**63])
def test_a_header_of_200_megabytes(tmp_path, length):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + b"{")
        file.truncate(300 << 20)  # takes no room on the disk
    with pytest.raises(CheckpointError, match=r"w\.safetensors: not a safetensors file"):
        load_segmenter(path)


SIZE = (20, 30)


def code(*numbers):
    """Numbers as a compressed RLE holds them; from the fourth on they are differences to the one two before."""
    text = ""
    for number in numbers:
        rest, more = number, True
        while more:
            digit, rest = rest & 0x1F, rest >> 5
            more = rest != (-1 if digit & 0x10 else 0)
            text += chr(48 + digit + (0x20 if more else 0))
    return text


def code_of(runs):
    return code(*(run - runs[n - 2] if n > 2 else run for n, run in enumerate(runs)))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([10**9], "covers 1000000000 pixels of 20 x 30"),
        (code(10**9), "covers 1000000000 pixels of 20 x 30"),
        ([2**32 + 600], "more than it can hold"),
        (code(2**32 + 600), "longer than"),
        ([10**400], "more than it can hold"),
        (code(2**40), "more than 7 digits"),
        (code(2**62, 2**62, 2**62, 600), "more than 7 digits"),  # of which the sum is 600 in 64 bits
        (code(*[2**32 - 1, 1] * 300), "longer than"),
        (code(700, -100), "negative"),
        (code(1, 1, 1, -2, 600), "negative"),
        ([700, -100], "whole numbers >= 0"),
        ("o" * 100_000, "not a compressed COCO RLE"),
        ([], "covers 0 pixels"),
        ("", "covers 0 pixels"),
        ([599], "covers 599 pixels"),
        ([601], "covers 601 pixels"),
        ([300.0, 300], "whole numbers"),
        ({"600": 1}, "whole numbers"),
    ],
)
def test_runs_that_do_not_fill_the_image(counts, message, monkeypatch):
    monkeypatch.setattr(rle, "coco_mask", None)  # nothing of it is called
    with pytest.raises(ValueError, match=message):
        rle.from_segmentation({"size": SIZE, "counts": counts}, SIZE)


@pytest.mark.parametrize("size", [(70_000, 70_000), (2**31, 2**31), (0, 30), (-20, -30), (10**9, 10**9)])
@pytest.mark.parametrize("counts", [None, [2**32 - 1], code(2**31)])
def test_images_that_no_mask_can_have(size, counts, monkeypatch):
    monkeypatch.setattr(rle, "coco_mask", None)
    segmentation = [[0, 0, 1, 0, 1, 1]] if counts is None else {"size": size, "counts": counts}
    with pytest.raises(ValueError, match="is none, or has more pixels than an RLE can hold"):
        rle.from_segmentation(segmentation, size)


@given(st.lists(st.integers(0, 3) | st.integers(0, 200), min_size=1, max_size=40))
def test_empty_runs_are_joined_so_that_pycocotools_sees_none(runs):
    size = (1, sum(runs) + 1)
    runs = [*runs, 1]
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)[None]
    for counts in (runs, code_of(runs), code_of(runs).encode()):
        found = rle.from_segmentation({"size": size, "counts": counts}, size)
        assert found == rle.encode(pixels)


@given(st.text(st.characters(min_codepoint=45, max_codepoint=115), max_size=12), st.integers(1, 40))
def test_a_code_is_refused_or_is_the_mask_of_its_size(counts, height):
    try:
        found = rle.from_segmentation({"size": [height, 1], "counts": counts}, (height, 1))
    except ValueError:
        return
    assert found == rle.encode(rle.decode(found))


ZIGZAG = [x for n in range(2000) for x in (-40_000 if n % 2 else 40_000, n)]


@pytest.mark.parametrize("polygons", [[ZIGZAG], [[0, 0, 39_999, 0, 39_999, 39_999]] * 2000])
def test_outlines_that_take_minutes_and_gigabytes_to_walk(polygons, monkeypatch):
    monkeypatch.setattr(rle, "coco_mask", None)
    with pytest.raises(ValueError, match=r"outlines of the polygons are .* px long"):
        rle.from_segmentation(polygons, (40_000, 40_000))


def test_a_polygon_of_a_million_points_is_drawn():
    angles = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    polygon = np.stack([1000 + 900 * np.cos(angles), 1000 + 900 * np.sin(angles)], axis=1).ravel().tolist()
    assert rle.area(rle.from_segmentation([polygon], (2000, 2000))) == pytest.approx(np.pi * 900**2, rel=1e-3)


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([1, 2, 3, 4], "three points or more"),
        ([1, 2, 3, 4, 5, 6, 7], "three points or more"),
        ([[1, 2]] * 6, "flat list"),
        ([1, 2, 3, 4, 5, 10**400], "not a finite number"),
        ([1, 2, 3, 4, 5, float("inf")], "not a finite number"),
        ([1, 2, 3, 4, 5, 1e300], "far outside"),
        ("123456", "three points or more"),
        ({"a": 1}, "three points or more"),
    ],
)
def test_polygons_that_are_none(polygon, message, monkeypatch):
    monkeypatch.setattr(rle, "coco_mask", None)
    with pytest.raises(ValueError, match=message):
        rle.from_segmentation([polygon], SIZE)


def test_a_polygon_may_cross_itself_and_the_border():
    bow = [-10, -10, 40, 30, 40, -10, -10, 30]
    assert 0 < rle.area(rle.from_segmentation([bow], SIZE)) < 600
