import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from bpr import rle
from bpr.data.datasets import RefinementDataset
from bpr.data.records import refinement_records
from bpr.formats.predictions import read_predictions
from bpr.patches.pasting import paste
from bpr.refine.writer import EMPTIED, paste_image
from bpr.structures import PatchSpec

ROOT = Path(__file__).parents[2]


def refine(toy, folder, *overrides, check=True):
    command = [sys.executable, ROOT / "refine.py", f"images={toy.images}", f"predictions={toy.predictions}"]
    command += ["patch.size=32", f"output={folder / 'refined.json'}", f"hydra.run.dir={folder / 'run'}", "threads=1"]
    command += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.enable_progress_bar=false", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("processes", [1, 2])
def test_an_identity_network_gives_back_the_input(toy_coco, tmp_path, processes):
    script, output = ROOT / "tests" / "refine" / "identity_run.py", tmp_path / "refined.json"
    command = [sys.executable, script, toy_coco.images, toy_coco.predictions, output, str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert ("MEMBER: 2/2" in done.stderr) == (processes == 2)
    before, after = (json.loads(path.read_text()) for path in (toy_coco.predictions, output))
    assert [entry["segmentation"] for entry in after] == [entry["segmentation"] for entry in before]


def test_results_keep_order_and_fields_and_do_not_depend_on_batches_or_processes(toy_coco, tmp_path, weights):
    coarse = json.loads(toy_coco.predictions.read_text())
    variants = {
        "one": ["images_per_batch=1", "patches_per_forward=1"],
        "many": [f"annotations={toy_coco.annotations}", "contact_sheet=true"],
        "two": ["trainer.devices=2", "trainer.strategy=ddp", "num_workers=1"],
    }
    masks, printed = {}, {}
    for name, overrides in variants.items():
        (tmp_path / name).mkdir()
        printed[name] = refine(toy_coco, tmp_path / name, f"ckpt={weights}", *overrides).stdout
        refined = json.loads((tmp_path / name / "refined.json").read_text())
        for before, after in zip(coarse, refined, strict=True):
            assert {**after, "bbox": 0, "segmentation": 0} == {**before, "bbox": 0, "segmentation": 0}
            x1, y1, x2, y2 = rle.bounding_box(after["segmentation"])
            kept = after["segmentation"] == before["segmentation"]
            assert after["bbox"] == (before["bbox"] if kept else [x1, y1, x2 - x1, y2 - y1])
        masks[name] = np.concatenate([rle.decode(entry["segmentation"]).ravel() for entry in refined])
        assert not (tmp_path / name / "refined.json.parts").exists()
    # Summation order differs between batch sizes: a pixel at probability 1/2 may fall on either side.
    assert (masks["one"] != masks["many"]).mean() < 1e-3
    assert (masks["two"] != masks["many"]).mean() < 1e-3
    assert (masks["many"] != np.concatenate([rle.decode(entry["segmentation"]).ravel() for entry in coarse])).any()
    assert "4 images, 12 instances: " in printed["two"]
    assert "Boundary AP" in printed["many"]
    sheet = tmp_path / "many" / "refined_contact_sheet.png"
    assert f"before and after: {sheet}" in printed["many"]
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    assert not list((tmp_path / "one").glob("*.png"))


def test_an_interrupted_run_goes_on_and_gives_the_same(toy_coco, tmp_path, weights):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    refine(toy_coco, tmp_path / "whole", f"ckpt={weights}", "images_per_batch=1")
    third = toy_coco.images / "000000000012.png"
    good = third.read_bytes()
    third.write_bytes(good[:100])  # the header is whole, the pixels are not: it fails when it is decoded
    failed = refine(toy_coco, tmp_path / "broken", f"ckpt={weights}", "images_per_batch=1", check=False)
    assert failed.returncode != 0
    assert "000000000012.png: cannot be decoded" in failed.stderr
    assert not (tmp_path / "broken" / "refined.json").exists()
    third.write_bytes(good)
    other = refine(toy_coco, tmp_path / "broken", f"ckpt={weights}", "threshold=0.6", check=False)
    assert "overwrite=true" in other.stderr
    done = refine(toy_coco, tmp_path / "broken", f"ckpt={weights}", "images_per_batch=1")
    assert "4 images, 12 instances" in done.stdout
    results = [(tmp_path / name / "refined.json").read_bytes() for name in ("whole", "broken")]
    assert results[0] == results[1]


def test_two_runs_do_not_write_to_one_output(toy_coco, tmp_path, weights):
    with FileLock(tmp_path / "refined.json.parts.lock"):
        second = refine(toy_coco, tmp_path, f"ckpt={weights}", "overwrite=true", check=False)
    assert second.returncode != 0
    assert "refined.json: another refine.py is writing to it" in second.stderr
    refine(toy_coco, tmp_path, f"ckpt={weights}")
    assert not list(tmp_path.glob("*.lock"))


def test_a_run_ends_at_sigterm_and_goes_on(toy_coco, tmp_path, weights):
    entries = json.loads(toy_coco.predictions.read_text())
    many = tmp_path / "many.json"  # so many that it is still at work when the signal comes
    many.write_text(json.dumps([{**entry, "image_id": f"{entry['image_id']:012d}"} for entry in entries] * 60))
    command = [sys.executable, ROOT / "refine.py", f"images={toy_coco.images}", f"predictions={many}", "threads=1"]
    command += ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "images_per_batch=1", "input_size=64"]
    command += [f"ckpt={weights}", f"output={tmp_path / 'refined.json'}", f"hydra.run.dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    shard = tmp_path / "refined.json.parts" / "rank0-0.jsonl"
    deadline = time.monotonic() + 120
    while (not shard.exists() or shard.stat().st_size < 200) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "interrupted; the same command goes on" in errors
    assert "Traceback" not in errors
    assert shard.exists()
    assert not (tmp_path / "refined.json").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ckpt=nowhere.ckpt", "nowhere.ckpt: no such file"),
        ("predictions=nowhere.json", "nowhere.json: cannot be read"),
        ("patch.sise=3", "patch.sise"),
        ("patch.size=abc", "patch.size"),
        ("patch.size=7", "patch.size must be an even number"),
        ("threshold=2", "threshold must be in"),
        ("dilation_ratio=5", "dilation_ratio must be in"),
        ("input_size=100", "input_size must be a positive multiple of 32"),
        ("patch.spacing=0", "patch.spacing must be at least 1"),
        ("patches_per_forward=0", "patches_per_forward must be at least 1"),
        ("output=/proc/nowhere/refined.json", "/proc/nowhere"),
    ],
)
def test_bad_input_ends_in_a_message_without_a_trace(toy_coco, tmp_path, weights, override, message):
    done = refine(toy_coco, tmp_path, *([] if "ckpt" in override else [f"ckpt={weights}"]), override, check=False)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_mask_of_which_nothing_would_be_left_is_kept_and_counted(toy_coco):
    records = refinement_records(toy_coco.images, read_predictions(toy_coco.predictions))
    layout = RefinementDataset(records[:1], PatchSpec(32))[0].layout
    nothing = np.zeros((layout.patches, 32, 32), np.float32)
    kept = paste_image(layout, nothing)
    emptied = [n for n, w in enumerate(layout.windows) if not paste(w.mask, *_local(w), 0.5).any()]
    assert emptied
    assert kept.skipped == {EMPTIED: len(emptied)}
    assert len(kept.masks) == len(layout.windows) - len(emptied)
    plain = paste_image(layout, nothing, keep_emptied=False)
    assert len(plain.masks) == len(layout.windows)
    assert not plain.skipped


def _local(window):
    boxes = window.boxes - np.tile(window.window[:2], 2)
    return np.zeros((len(boxes), 32, 32), np.float32), boxes
