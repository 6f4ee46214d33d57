"""A small file unpacks to a huge one, to fill memory or disk: gzip, PNG, and PNG in base64."""

import base64
import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

import bpr.formats.files as module
from bpr.data.images import read_image
from bpr.formats import coco
from bpr.formats.errors import FormatError
from bpr.formats.labelme_shapes import draw
from bpr.formats.predictions import read_predictions

SIDE = 12_000


@pytest.fixture(scope="module")
def bomb():
    """144 million black pixels in 20 kB."""
    buffer = io.BytesIO()
    Image.new("1", (SIDE, SIDE)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["r.json.gz", "r.jsonl.gz"])
def test_a_gzipped_file_stops_unpacking_and_leaves_nothing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "_MOST_UNPACKED", 1 << 22)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"[" + b" " * (1 << 25)))
    with pytest.raises(FormatError, match=rf"{name}: .*unpacks to more than 4194304 bytes; unpack it yourself"):
        coco.open_results(path)
    assert not list((tmp_path / "tmp").iterdir())


def test_a_line_without_end_is_not_read_whole(tmp_path):
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (1 << 26)))
    tracemalloc.start()
    with pytest.raises(FormatError, match="line 1: has more than 16777216 bytes"):
        len(read_predictions(path, "jsonl").entries)
    assert tracemalloc.get_traced_memory()[1] < 3 << 24
    tracemalloc.stop()


def test_an_image_that_is_larger_than_its_masks_is_not_decoded(tmp_path, bomb):
    path = tmp_path / "a.png"
    path.write_bytes(bomb)
    before = resident()
    with pytest.raises(FormatError, match=rf"a\.png: is \({SIDE}, {SIDE}\) \(h, w\), but its masks are \(20, 30\)"):
        read_image(path, (20, 30))
    assert resident() - before < 8 << 20


def test_a_mask_in_base64_that_is_larger_than_its_box_is_not_decoded(bomb):
    shape = {"shape_type": "mask", "points": [[0, 0], [29, 19]], "mask": base64.b64encode(bomb).decode()}
    before = resident()
    with pytest.raises(FormatError, match=rf"shapes\[3\]: .*a mask of \({SIDE}, {SIDE}\) does not fit"):
        draw(Path("a.json"), 3, shape, (20, 30))
    assert resident() - before < 8 << 20


def resident():
    """Bytes of memory that this process has had at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_a_mask_that_is_larger_than_its_image_is_not_decoded(tmp_path, bomb):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a_1.png").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"the mask is \(12000, 12000\) \(h, w\), its image \(20, 30\)"):
        read_predictions(tmp_path / "masks", image_sizes=lambda: {"a": (20, 30)})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < SIDE * SIDE / 10
