"""Files of up to 100 kB that are made to take as long, and as much memory, as they can."""

import base64
import gzip
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuzz.readers import CLOSED_LIST, SLOWEST, Sample

CONSTANT = 64 << 20
"""Bytes of memory that may be taken besides ten times the file."""
SIDE = 4000


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def annotations(*segmentations, side=SIDE):
    """A COCO annotation file of one large image."""
    fields = {"image_id": 1, "category_id": 1}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": side, "width": side}],
        "annotations": [{**fields, "segmentation": one} for one in segmentations],
    }
    return json.dumps(content).encode()


def labelme():
    bomb = base64.b64encode(png(np.zeros((6000, 6000), np.uint8))).decode()
    shape = {"label": "a", "points": [[0, 0], [29, 19]], "shape_type": "mask", "mask": bomb}
    return json.dumps({"imagePath": "0.jpg", "imageHeight": 20, "imageWidth": 30, "shapes": [shape]}).encode()


ZIGZAG = [x for n in range(6000) for x in (-9 * SIDE if n % 2 else 9 * SIDE, n)]
TRIANGLE = [0, 0, SIDE, 0, SIDE, SIDE]
WORST = {
    "a list in a list": ("coco", 0, lambda: b"[" * 100_000),
    "a list that never ends": ("coco", 0, lambda: b"[" + b"{}," * 33_000),
    "blanks": ("jsonl", 0, lambda: gzip.compress(b" " * (18 << 20))),
    "one digit after the other": ("coco", 0, lambda: b"[" + b"9" * 99_000),
    "lines": ("jsonl", 0, lambda: b"{}\n" * 33_000),
    "many runs": ("annotations", 0, lambda: annotations({"size": [200, 200], "counts": [1] * 33_000}, side=200)),
    "a code of zeros": ("annotations", 0, lambda: annotations({"size": [SIDE, SIDE], "counts": "0" * 99_000})),
    "a polygon to and fro": ("annotations", 0, lambda: annotations([ZIGZAG])),
    "many large triangles": ("annotations", 0, lambda: annotations([TRIANGLE] * 2000)),
    "a class of 99,000 digits": ("yolo", 3, lambda: b"9" * 99_000),
    "a polygon of 40,000 points": ("yolo", 4, lambda: b"0" + b" 0 0 1 1" * 11_000),
    "a PNG in base64": ("labelme", 0, labelme),
    "a label for each pixel": ("masks", 0, lambda: png(np.arange(1500, dtype=np.uint16).reshape(30, 50))),
    "an instance for each pixel": ("ground_truth", 0, lambda: png(np.arange(24_000, 25_500, dtype=np.uint16)[None])),
    "aliases": ("yolo", 1, lambda: b"names: &a [x]\n" + b"".join(b"k%d: *a\n" % n for n in range(5000))),
    "words": ("cityscapes", 2, lambda: b"masks/0.png 26 0.5\n" * 300),
}


@pytest.mark.parametrize("name", WORST)
def test_it_takes_no_second_and_little_memory(name, tmp_path):
    reader, file, make = WORST[name]
    sample, content = Sample(reader, tmp_path), make()
    assert len(content) <= 100_000
    start, before = time.process_time(), peak_of_memory(reset=True)
    error = sample.read_with(file, content)
    assert time.process_time() - start < SLOWEST
    assert error is None or isinstance(error, CLOSED_LIST)
    assert peak_of_memory() - before < 10 * len(content) + CONSTANT


def peak_of_memory(reset=False):
    """Bytes that this process has had at most since the last reset."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells it")
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10
