import gc
import gzip
import hashlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from codecs import BOM_UTF8
from concurrent.futures import ProcessPoolExecutor

import pytest

from bpr.formats import coco
from bpr.formats.entries import StoredEntries
from bpr.formats.errors import FormatError
from bpr.formats.faults import Faults
from bpr.formats.files import UnpackedCopy
from bpr.formats.predictions import read_predictions
from bpr.structures import OnError


def entries(count):
    return [
        {"image_id": n, "category_id": 1, "score": 0.5, "segmentation": {"size": [1, 1], "counts": "1"}, "ü": "漢" * n}
        for n in range(count)
    ]


def test_entries_are_had_by_number_by_slice_and_in_order(tmp_path):
    coco.write_results(tmp_path / "r.json", entries(5))
    found = coco.open_results(tmp_path / "r.json")
    assert len(found) == 5
    assert list(found) == found[:] == entries(5)
    assert (found[-1], found[1:4:2]) == (entries(5)[4], entries(5)[1:4:2])
    assert list(found.take([3, 0])) == [entries(5)[3], entries(5)[0]]
    with pytest.raises(IndexError):
        found[5]


def test_an_access_gives_a_new_object(tmp_path):
    coco.write_results(tmp_path / "r.json", entries(1))
    found = coco.open_results(tmp_path / "r.json")
    found[0]["score"] = 7
    assert found[0]["score"] == 0.5


def test_a_gzipped_file_is_unpacked_for_as_long_as_it_is_used(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(entry) + "\n\n" for entry in entries(3)).encode()))
    found = read_predictions(path, "jsonl").entries
    assert list(found) == entries(3)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        assert process.submit(list, found).result() == entries(3)
    assert found[1] == entries(3)[1], "only its owner removes the copy"
    del found
    gc.collect()
    assert not list(folder.iterdir())


def test_copies_that_killed_processes_left_are_removed_and_those_in_use_are_not(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(entries(1)[0]).encode()))
    (folder / "bpr-mine.txt").touch()
    code = "import os, sys, signal; from pathlib import Path; from bpr.formats.files import UnpackedCopy\n"
    code += "copy = UnpackedCopy(Path(sys.argv[1])); print(copy.path); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, path], env={**os.environ, "TMPDIR": str(folder)}, check=False)
    (left,) = folder.glob("*.unpacked")
    first = UnpackedCopy(path)
    assert not left.exists()
    second = UnpackedCopy(path)
    assert set(folder.iterdir()) == {first.path, second.path, folder / "bpr-mine.txt"}
    assert json.loads(first.path.read_bytes()) == entries(1)[0]


def test_nothing_is_left_of_a_gzipped_file_that_was_cut_off(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(entries(1)[0]).encode())[:-10])
    with pytest.raises(FormatError, match=r"r\.jsonl\.gz: cannot be read"):
        list(read_predictions(path, "jsonl").entries)
    gc.collect()
    assert not list(folder.iterdir())


def test_no_entries_are_a_sequence_too(tmp_path):
    (tmp_path / "r.json").write_text("[]")
    assert list(coco.open_results(tmp_path / "r.json")) == []
    assert len(StoredEntries(tmp_path / "r.json", lambda _: iter(()))) == 0


def test_what_is_looked_at_first_and_left_is_checked_from_the_start(tmp_path):
    entries = [{"image_id": n} for n in range(3)]
    (tmp_path / "r.json").write_text(json.dumps(entries))
    faults = Faults(OnError.keep)
    stored = coco.open_results(tmp_path / "r.json", faults)
    assert next(iter(stored)) == entries[0]
    assert list(stored) == entries
    assert [fault.position for fault in faults.found] == [0, 1, 2]


@pytest.mark.parametrize("before", [b"", BOM_UTF8])
def test_the_digest_is_that_of_all_bytes(tmp_path, before):
    content = before + json.dumps([{"image_id": 1, "segmentation": "x" * 3_000_000}] * 2).encode() + b" \n"
    (tmp_path / "r.json").write_bytes(content)
    found = coco.open_results(tmp_path / "r.json").content
    assert found == hashlib.blake2b(content).hexdigest()
    lines = before + b'{"image_id": 1, "segmentation": []}\n\n{"image_id": 2, "segmentation": []}'
    (tmp_path / "r.jsonl").write_bytes(lines)
    stored = read_predictions(tmp_path / "r.jsonl", "jsonl").entries
    assert [entry["image_id"] for entry in stored] == [1, 2]
    assert stored.content == hashlib.blake2b(lines).hexdigest()
    assert pickle.loads(pickle.dumps(stored))[1]["image_id"] == 2
