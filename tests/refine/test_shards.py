import json
from contextlib import closing

import numpy as np
import pytest

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.refine.merging import merge_shards
from bpr.refine.shards import RefinedImage, ShardWriter, discard_shards, end_output, read_shards

CODE = rle.encode(np.eye(4, dtype=bool))
OTHER = rle.encode(np.ones((4, 4), bool))


def image(image_id, **masks):
    at = {int(position[1:]): code for position, code in masks.items()}
    changed = sum(code != CODE for code in at.values())
    return RefinedImage(image_id, at, changed, 3, {"empty mask": 1})


def images_in(folder):
    return [line.image for line in read_shards(folder, "run")]


def entries(count):
    return [{"image_id": n // 2, "score": 0.5, "segmentation": CODE, "n": n} for n in range(count)]


def test_what_was_written_is_read_by_any_later_process(tmp_path):
    written = [image(7, p0=CODE), image("a", p2=OTHER)]
    for rank, one in enumerate(written):
        with closing(ShardWriter(tmp_path, "run", rank)) as shard:
            shard.write(one)
    assert images_in(tmp_path) == written


def test_a_line_that_was_cut_off_is_ignored_and_its_image_done_again(tmp_path):
    with closing(ShardWriter(tmp_path, "run")) as shard:
        shard.write(image(1))
        shard.write(image(2))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert [i.image_id for i in images_in(tmp_path)] == [1]
    with closing(ShardWriter(tmp_path, "run")) as shard:
        shard.write(image(2))
    assert [i.image_id for i in images_in(tmp_path)] == [1, 2]


def test_shards_of_another_run_are_refused(tmp_path):
    with closing(ShardWriter(tmp_path, "other")) as shard:
        assert not list(read_shards(tmp_path, "run"))  # no image is in it yet: nothing could be mixed
        shard.write(image(1))
    with pytest.raises(FormatError, match="overwrite=true"):
        list(read_shards(tmp_path, "run"))


def test_the_refusal_says_what_differs(tmp_path):
    with closing(ShardWriter(tmp_path, "backend=1 threshold=2 images=3")) as shard:
        shard.write(image(1))
    with pytest.raises(FormatError, match=r"other settings or files \(threshold, images\)"):
        list(read_shards(tmp_path, "backend=1 threshold=4 images=5"))


def test_a_damaged_shard_is_named(tmp_path):
    (tmp_path / "rank0-0.jsonl").write_text(json.dumps({"layout": "bpr-shard-3", "run": "run"}) + "\n{nonsense\n")
    with pytest.raises(FormatError, match=r"rank0-0\.jsonl, line 2: is damaged"):
        list(read_shards(tmp_path, "run"))


def test_after_a_damaged_shard_is_removed_as_told_the_next_process_writes_on(tmp_path):
    for _ in range(2):
        with closing(ShardWriter(tmp_path, "run")) as shard:
            shard.write(image(1))
    (tmp_path / "rank0-0.jsonl").unlink()
    with closing(ShardWriter(tmp_path, "run")) as shard:
        shard.write(image(2))
    assert [i.image_id for i in images_in(tmp_path)] == [1, 2]


def test_discarding_removes_shards_and_nothing_else(tmp_path):
    folder = tmp_path / "refined.json.parts"
    for run in ("mine", "other"):
        with closing(ShardWriter(folder, run)) as shard:
            shard.write(image(run))
    (folder / "rank0-9.jsonl").write_text("{nonsense")
    discard_shards(folder, but="mine")
    assert [line.image.image_id for line in read_shards(folder, "mine")] == ["mine"]
    notes = folder / "rank0-notes.jsonl"
    notes.write_text("the user's")
    discard_shards(folder)
    end_output(folder)
    assert list(folder.iterdir()) == [notes]
    notes.unlink()
    end_output(folder)
    assert not folder.exists()


def test_merging_keeps_the_order_and_all_that_was_skipped(tmp_path):
    with closing(ShardWriter(tmp_path, "run", 1)) as shard:
        shard.write(image(1, p2=OTHER))
    with closing(ShardWriter(tmp_path, "run", 0)) as shard:
        shard.write(image(0, p1=CODE))
    pairs, summary = merge_shards(tmp_path, "run", entries(4), images=2)
    merged = list(pairs)
    assert [before for before, _ in merged] == entries(4)
    assert [after["n"] for _, after in merged] == [0, 1, 2, 3]
    assert [after["segmentation"] for _, after in merged] == [CODE, CODE, OTHER, CODE]
    assert (summary.refined, summary.changed, summary.patches) == (2, 1, 6)
    assert summary.skipped == {"empty mask": 2}


def test_a_missing_image_stops_the_merge(tmp_path):
    with closing(ShardWriter(tmp_path, "run")) as shard:
        shard.write(image(1))
    with pytest.raises(FormatError, match="1 of 2 images"):
        merge_shards(tmp_path, "run", entries(4), images=2)
