"""What ``refine.py`` prints and how it ends for each kind of broken input in ``docs/reliability.md``."""

import json
import os
import re
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.files import visible_files

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
SIZE = (120, 160)
"""(h, w) of the first image."""


def text(change):
    """Spoils the text of the results file."""
    return lambda toy: toy.predictions.write_bytes(change(toy.predictions.read_text()))


def entry(**fields):
    """Gives the second entry other fields."""

    def spoil(toy):
        entries = json.loads(toy.predictions.read_text())
        entries[1] |= fields
        toy.predictions.write_text(json.dumps(entries))

    return spoil


def mask(counts, size=SIZE):
    return entry(segmentation={"size": [*size], "counts": counts})


def zeros(path, start=b""):
    """200 MB that take no room on the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(200 << 20)


def image(change):
    return lambda toy: change(toy.images / "000000000010.png")


def checkpoint(write):
    def spoil(toy):
        write(toy.root / "w.pth")
        return f"ckpt={toy.root / 'w.pth'}"

    return spoil


def same_ids(toy):
    content = json.loads(toy.annotations.read_text())
    content["images"][1]["id"] = content["images"][0]["id"]
    toy.annotations.write_text(json.dumps(content))
    return f"annotations={toy.annotations}"


def same_members(toy):
    toy.annotations.write_text(toy.annotations.read_text().replace('"images":', '"images": [], "images":', 1))
    return f"annotations={toy.annotations}"


def header_of_checkpoint(toy):
    zeros(toy.root / "w.safetensors", struct.pack("<Q", 199 << 20) + b"{")
    return f"ckpt={toy.root / 'w.safetensors'}"


def link(target):
    def spoil(path):
        path.unlink()
        path.symlink_to(target or path)

    return image(spoil)


def read_only(toy):
    return "output=/proc/nowhere/refined.json"  # in which not even root can write


DIGITS = "9" * 401
ENTRY = r"coarse\.json, entry 1: "
KINDS = {
    "JSON that is cut off": (text(lambda t: t[:-20].encode()), r"coarse\.json: is not JSON"),
    "JSON that is no list": (text(lambda t: b'{"a": 1}'), r"coarse\.json: is in no known format; taken are"),
    "JSON with a member twice": (same_members, r"instances\.json: has an object in which 'images' occurs twice"),
    "NaN": (text(lambda t: t.replace("0.8", "NaN", 1).encode()), ENTRY + "score must be a finite number, got nan"),
    "an infinity": (text(lambda t: t.replace("0.8", "Infinity", 1).encode()), ENTRY + "score must be .* got inf"),
    "10**400": (text(lambda t: t.replace("0.8", DIGITS, 1).encode()), ENTRY + "'score' must be a number of 64 bits"),
    "a number of 5,000 digits": (text(lambda t: t.replace("0.8", "9" * 5000, 1).encode()), "is not JSON .*4300 digits"),
    "nesting of 100,000": (text(lambda t: b"[" * 100_000), r"coarse\.json: is not JSON .*(recursion|Stack overflow)"),
    "UTF-16": (text(lambda t: t.encode("utf-16")), r"coarse\.json: is text in UTF-16; save it as UTF-8"),
    "a results file of 200 MB of zeros": (lambda toy: zeros(toy.predictions), "is in no known format"),
    "a header of 200 MB": (header_of_checkpoint, r"w\.safetensors: not a safetensors file"),
    "an RLE longer than its image": (
        mask([SIZE[0] * SIZE[1] + 1]),
        ENTRY + "segmentation: the RLE covers 19201 pixels",
    ),
    "an RLE shorter than its image": (mask([5, 5]), ENTRY + "segmentation: the RLE covers 10 pixels"),
    "an RLE that overflows its code": (mask("PPPPPPPPPPP0"), ENTRY + "segmentation: counts .* more than 7 digits"),
    "an RLE with a negative run": (mask([19_300, -100]), ENTRY + "segmentation: the counts .* whole numbers >= 0"),
    "an RLE that claims 10**9 px": (mask([10**9], (31_623, 31_623)), ENTRY + "segmentation: the RLE is .* its image"),
    "a polygon of 2 points": (entry(segmentation=[[1, 2, 3, 4]]), ENTRY + "segmentation: .* three points or more"),
    "a polygon of odd length": (entry(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), ENTRY + ".* three points or more"),
    "a polygon far outside": (entry(segmentation=[[1e6, 2, 3, 4, 5, 6]]), ENTRY + ".*far outside"),
    "an unknown id": (entry(image_id=77), ENTRY + "no image in .* is named after image_id 77"),
    "an id twice": (same_ids, r"instances\.json, images\[1\]: image id 10 occurs twice"),
    "an image that is missing": (image(Path.unlink), r"coarse\.json, entry 0: no image in .* image_id 10"),
    "an image that is empty": (image(lambda p: p.write_bytes(b"")), r"10\.png: cannot be decoded .*; replace the file"),
    "an image that is none": (image(lambda p: p.write_text("a")), r"10\.png: cannot be decoded .*; replace the file"),
    "an image of another size": (image(lambda p: Image.new("L", (9, 9)).save(p)), r"entry 0: .*RLE is \(120, 160\)"),
    "an image that is a bomb": (
        image(lambda p: Image.new("1", (12_000,) * 2).save(p)),
        r"entry 0: .*RLE is \(120, 160\)",
    ),
    "a link to nothing": (link("nowhere.png"), r"10\.png: is missing"),
    "a link to itself": (link(None), r"10\.png: cannot be decoded .*symbolic links"),
    "a checkpoint that is text": (checkpoint(lambda p: p.write_text("weights")), r"w\.pth: not a checkpoint"),
    "a checkpoint of another model": (
        checkpoint(lambda p: torch.save({"state_dict": {"w": torch.zeros(2)}}, p)),
        r"w\.pth: its entries are not those of this network",
    ),
    "an output that cannot be written": (read_only, r"No such file or directory: '/proc/nowhere'"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_in_one_line_that_the_page_shows(toy_coco, tmp_path, refine, kind):
    spoil, message = KINDS[kind]
    more = spoil(toy_coco)
    output = tmp_path / "refined.json"
    given = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"output={output}"]
    with pytest.raises(SystemExit) as end:
        refine(*given, *([more] if isinstance(more, str) else []))
    line = str(end.value.code)  # a text, with which Python exits with 1
    assert line.startswith("error: ")
    assert re.search(message, line)
    assert line.isprintable()
    assert len(line) < 1000
    assert not output.exists()
    assert re.search(rf"^\| {re.escape(kind)} \|.*\| 1 \|$", PAGE, re.M), "not in docs/reliability.md"


def test_what_is_unusual_but_right_is_refined(toy_coco, tmp_path, refine):
    entries = json.loads(toy_coco.predictions.read_text())
    runs = rle.uncompressed_counts(entries[0]["segmentation"])
    entries[0]["segmentation"]["counts"] = [runs[0], 0, 0, runs[1], 0, 0, *runs[2:]]
    entries[1]["segmentation"] = [[-20, -20, 60, 60, 60, -20, -20, 60]]  # crosses itself and the border
    toy_coco.predictions.write_text(json.dumps([*entries, entries[0]]))
    output = tmp_path / "refined.json"
    refine(f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"output={output}", "rounds=[boundary]")
    refined = json.loads(output.read_text())
    assert len(refined) == len(entries) + 1
    assert refined[0] == refined[-1]
    assert 0 not in refined[0]["segmentation"]["counts"][1:]


@contextmanager
def nobody():
    """Without the permissions of root, which nothing can be denied to."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["", "below"])
def test_a_folder_that_cannot_be_read_is_named_and_not_passed_over(name):
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "masks"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "a_1.png").touch()
        Path(made).chmod(0o755)
        (folder / name).chmod(0)
        try:
            message = rf"{folder / name}: cannot be read \(Permission denied\); make it readable, or move it out"
            with nobody(), pytest.raises(FormatError, match=message):
                visible_files(folder)
        finally:
            (folder / name).chmod(0o755)


def test_every_row_of_the_page_names_tests_that_exist():
    rows = re.findall(r"^\| .* \| \d(?:, \d)? \|$", PAGE, re.M)
    named = {test for row in rows for test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)}
    assert len(rows) > len(KINDS)
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
    for row in rows:
        assert "`tests/" in row or row.split(" | ")[0].removeprefix("| ") in KINDS, row
