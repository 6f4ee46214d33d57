import gzip
import json

import pytest

from bpr.formats.errors import FormatError
from bpr.formats.json_lines import is_json_lines, read_json_lines, write_json_lines

ENTRIES = [
    {"image_id": n, "category_id": 1, "score": 0.5, "segmentation": {"size": [1, 1], "counts": "1"}} for n in (3, 1)
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_entries_round_trip_in_order(tmp_path, name):
    path = tmp_path / name
    write_json_lines(path, ENTRIES)
    assert read_json_lines(path) == ENTRIES
    assert is_json_lines(path)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")


def test_a_results_file_is_no_json_lines_file(tmp_path):
    path = tmp_path / "a.json"
    for content in (ENTRIES, {"images": [], "annotations": []}):
        path.write_text(json.dumps(content, indent=1))
        assert not is_json_lines(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image_id": 1', "line 1: is not JSON"),
        ('\n{"image_id": 1}', "line 2: 'category_id' is missing"),
        ("[1]", "line 1: expected an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(FormatError, match=message):
        read_json_lines(path)


def test_a_file_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ENTRIES[0]).encode())[:-12])
    with pytest.raises(FormatError, match=r"a\.jsonl\.gz: cannot be read"):
        read_json_lines(path)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES), encoding="utf-8-sig")
    assert read_json_lines(path) == ENTRIES
