import numpy as np
import pytest

from bpr import rle
from bpr.integrations.label_studio import regions

SIZE = (60, 80)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
COMMON = {"id": "a", "to_name": "image", "original_width": 80, "original_height": 60, "image_rotation": 0}


def disc(x, y, radius):
    return (ROWS - y) ** 2 + (COLUMNS - x) ** 2 <= radius**2


MASKS = {
    "disc": disc(25, 30, 15),
    "two parts": disc(50, 12, 8) | disc(65, 45, 10),
    "at the border": disc(0, 59, 12),
    "one pixel": disc(3, 4, 0),
    "whole image": np.ones(SIZE, np.bool_),
    "ragged": disc(40, 30, 20) & ((ROWS + COLUMNS) % 3 > 0) | disc(40, 30, 12),
}


def brush(code):
    return {**COMMON, "type": "brushlabels", "value": {"format": "rle", "rle": code, "brushlabels": ["cup"]}}


def polygon(*points):
    value = {"points": [list(point) for point in points], "closed": True, "polygonlabels": ["cup"]}
    return {**COMMON, "type": "polygonlabels", "value": value}


SQUARE = polygon((25, 25), (50, 25), (50, 75), (25, 75))


@pytest.fixture
def sdk():
    return pytest.importorskip("label_studio_sdk.converter.brush", reason="needs the extra label-studio")


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_brush_holds_every_mask_exactly(sdk, mask):
    entry = regions.encode(brush([]), rle.encode(mask))
    assert regions.decode(entry, SIZE) == rle.encode(mask)
    assert entry == brush(entry["value"]["rle"])
    assert (sdk.decode_rle(bytes(entry["value"]["rle"])).reshape(*SIZE, 4) == mask[..., None] * 255).all()


@pytest.mark.parametrize("mask", [mask for name, mask in MASKS.items() if name != "ragged"])
def test_a_polygon_holds_every_mask_without_holes_exactly(mask):
    entry = regions.encode(SQUARE, rle.encode(mask))
    assert regions.decode(entry, SIZE) == rle.encode(mask)
    assert entry == polygon(*entry["value"]["points"])


@pytest.mark.parametrize("size", [(7, 13), (427, 640), (1080, 1917)])
def test_percents_are_exact_in_images_of_any_size(size):
    mask = np.zeros(size, np.bool_)
    mask[1 : size[0] // 2, 2 : size[1] // 3] = True
    mask[size[0] // 3 : size[0] - 1, size[1] // 5 :] = True
    of_size = {**SQUARE, "original_height": size[0], "original_width": size[1]}
    assert regions.decode(regions.encode(of_size, rle.encode(mask)), size) == rle.encode(mask)


def test_percents_are_of_the_sides_of_the_image():
    expected = np.zeros(SIZE, np.bool_)
    expected[15:45, 20:40] = True
    assert regions.decode(SQUARE, SIZE) == rle.encode(expected)


def test_a_tolerance_saves_corners():
    exact, fewer = (regions.encode(SQUARE, rle.encode(MASKS["disc"]), t)["value"]["points"] for t in (0, 1))
    assert len(fewer) < len(exact) / 2


def test_soft_edges_and_faint_masks_of_brushes_are_cut_at_half(sdk):
    pixels = np.zeros((*SIZE, 4), np.uint8)
    pixels[10:20], pixels[20], pixels[21] = 255, 128, 127
    expected = rle.encode((ROWS >= 10) & (ROWS <= 20))
    assert regions.decode(brush(sdk.encode_rle(pixels.ravel())), SIZE) == expected
    faint = expected_rows = (ROWS >= 10) & (ROWS < 15)
    assert regions.decode(brush(sdk.mask2rle(faint.astype(np.uint8))), SIZE) == rle.encode(expected_rows)
    assert regions.decode(brush(sdk.mask2rle(np.zeros(SIZE, np.uint8))), SIZE) == rle.encode(np.zeros(SIZE, np.bool_))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({**SQUARE, "original_width": 81}, r"\(60, 81\)"),
        ({**SQUARE, "original_width": None}, "None"),
        ({**SQUARE, "image_rotation": 90}, "rotated"),
        ({**SQUARE, "value": {**SQUARE["value"], "closed": False}}, "not closed"),
        (polygon((1, 2), (3, 4)), "three points"),
        (polygon((1, 2), (3, 4), (float("nan"), 1)), "finite"),
        (polygon((1, 2), (3, 4), (5, 1e9)), "far outside"),
        ({**SQUARE, "value": {"points": [[1, "x"]]}}, "no pairs of numbers"),
        ({**SQUARE, "value": {"points": None}}, "points"),
        (brush("text"), "does not hold"),
        (brush([1, 300]), "no list of bytes"),
        (brush([1, "x"]), "no list of bytes"),
        (brush([255, 255, 255, 255, 0]), "does not hold"),
    ],
)
def test_a_bad_region_says_what_is_wrong(entry, problem):
    with pytest.raises(ValueError, match=problem):
        regions.decode(entry, SIZE)


def test_a_brush_that_is_cut_off_says_so(sdk):
    code = sdk.mask2rle(MASKS["disc"].astype(np.uint8) * 255)
    for length in (4, 10, len(code) // 2):
        with pytest.raises(ValueError, match="damaged"):
            regions.decode(brush(code[:length]), SIZE)


def test_entries_without_a_geometry_have_no_mask():
    for entry in ({"type": "choices", "value": {"choices": ["a"]}}, {"type": "relation", "from_id": "a"}, None, 3, {}):
        assert not regions.has_mask(entry)
    assert regions.has_mask(SQUARE)


def test_without_the_sdk_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "label_studio_sdk.converter", None)
    with pytest.raises(ModuleNotFoundError, match=r"'\.\[label-studio\]'"):
        regions.require_sdk()
