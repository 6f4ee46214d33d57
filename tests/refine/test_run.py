import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from PIL import Image
from pytorch_lightning import Trainer

from bpr import rle
from bpr.formats.coco import write_json_lines, write_results
from bpr.formats.entries import StoredEntries
from bpr.formats.errors import FormatError
from bpr.models import refiner
from bpr.models.backends import _started
from bpr.models.trainer import capped_trainer, workers_ahead_of
from bpr.refine import digest
from bpr.refine import run as refine_run
from bpr.refine.progress import RefinementRun
from bpr.refine.run import predict
from bpr.refine.summary import RefinementSummary, format_summary
from bpr.report.outcome import show_outcome
from samples import MAKE, SIZE

ROOT = Path(__file__).parents[2]


def test_an_interrupted_run_is_resumed_and_gives_the_same(repeated):
    repeated.finished()
    whole = repeated.output.read_bytes()
    repeated.output.unlink()
    repeated.interrupted()
    run, make = repeated.open()
    assert len(run.left) == 2
    assert not repeated.output.exists()
    assert predict(run, make)
    assert run.finish().summary.images == 4
    run.shards.close()
    assert repeated.output.read_bytes() == whole
    assert not run.shards.folder.exists()


@pytest.mark.parametrize("given", [True, False])
def test_an_interrupted_run_says_what_is_kept_and_which_command_resumes(repeated, tmp_path, capsys, monkeypatch, given):
    handler = signal.getsignal(signal.SIGINT)  # Lightning ignores the signal once it was interrupted
    options = [] if given else ["output=null"]
    run, make = repeated.open(*options, after=2, error=KeyboardInterrupt())
    with pytest.raises(SystemExit), run.resumable():
        predict(run, make)
    signal.signal(signal.SIGINT, handler)
    folder = tmp_path if given else tmp_path / "run"
    more = "" if given else f" with output={folder / 'refined.json'}"
    said = (
        f"interrupted: 2 of 4 images are done and kept beside {folder / 'refined.json'}; the same command{more} resumes"
    )
    assert said in capsys.readouterr().err.splitlines()
    run.shards._lock.release()
    repeated.output = folder / "refined.json"
    run, make = repeated.open()
    assert len(run.left) == 2
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with pytest.raises(KeyboardInterrupt), run.resumable():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def killed_at(writes, toy, weights, output, predictions):
    """``kill -9`` of a ``refine.py`` that is about to end a file for the time that ``writes`` says."""
    program = f"""
import os, pathlib, runpy, sys
ends, replace = [], os.replace
def killed(*paths):
    ends.append(paths)
    if len(ends) == {writes}:
        os.kill(os.getpid(), 9)
    replace(*paths)
os.replace = killed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = [sys.executable, "-c", program, ROOT / "refine.py", f"images={toy.images}", f"predictions={predictions}"]
    command += [f"output={output}", f"ckpt={weights}", "patch.size=32", "images_per_batch=1", "threads=1"]
    command += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.enable_progress_bar=false"]
    done = subprocess.run(command, cwd=toy.root, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("form", ["coco", "masks"])
def test_after_kill_9_and_a_repeat_only_the_results_are_there(repeated, toy_coco, weights, tmp_path, form):
    predictions, output, expected = toy_coco.predictions, tmp_path / "made" / "refined.json", {"refined.json"}
    if form == "masks":
        predictions, output = tmp_path / "coarse", tmp_path / "made" / "refined"
        predictions.mkdir()
        for entry in json.loads(toy_coco.predictions.read_text())[::3]:
            mask = rle.decode(entry["segmentation"]).astype(np.uint8)
            Image.fromarray(mask).save(predictions / f"{entry['image_id']:012d}.png")
        expected = {"refined", *(f"refined/{path.name}" for path in predictions.iterdir())}
    killed_at(1 if form == "coco" else 3, toy_coco, weights, output, predictions)
    names = {path.relative_to(output.parent).as_posix() for path in output.parent.rglob("*")}
    assert len([name for name in names if name.endswith(".tmp")]) == 1
    assert any(name.endswith(".lock") for name in names)
    repeated.output = output
    run, make = repeated.open(f"predictions={predictions}")
    assert not run.left
    assert predict(run, make)
    run.finish()
    run.shards.close()
    assert {path.relative_to(output.parent).as_posix() for path in output.parent.rglob("*")} == expected


def test_an_interruption_before_anything_was_refined_says_nothing(repeated, capsys):
    run, _ = repeated.open()
    with pytest.raises(KeyboardInterrupt), run.resumable():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["threshold=0.6"], "threshold"),
        (["patch.nms_iou=0.5"], r"patch\.nms_iou, patch\.placement"),
        (["trainer.precision=bf16-mixed"], "precision"),
        (["backend=compile"], "backend"),
        (["exif=ignore"], "exif"),
        (["ckpt=hrnet18s", "rounds=[boundary]"], "ckpt"),
        (["rounds=[object]"], "rounds"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(repeated, change, named):
    repeated.interrupted()
    with pytest.raises(FormatError, match=rf"\({named}\); repeat those to finish it, or .* overwrite=true"):
        repeated.open(*change)


def test_a_run_in_int8_is_not_resumed_with_another_calibration(repeated, monkeypatch):
    monkeypatch.setattr(refiner, "check_backend", lambda backend, device: None)
    monkeypatch.setattr(refiner, "make_start", lambda segmenter, *_: _started(segmenter.foreground_probability))
    monkeypatch.setattr(refine_run, "int8_folder", lambda segmenter, cache: cache / "one")
    repeated.interrupted("backend=openvino_int8")
    monkeypatch.setattr(refine_run, "int8_folder", lambda segmenter, cache: cache / "another")
    with pytest.raises(FormatError, match=r"\(calibration\)"):
        repeated.open("backend=openvino_int8")


def test_a_run_is_not_resumed_on_other_images_or_predictions(repeated, toy_coco):
    run = repeated.interrupted()
    photo = run.given.records.paths[0]
    changed = photo.stat().st_mtime_ns
    os.utime(photo, ns=(0, changed + 1))
    with pytest.raises(FormatError, match=r"\(images\)"):
        repeated.open()
    os.utime(photo, ns=(0, changed))
    entries = json.loads(toy_coco.predictions.read_text())
    toy_coco.predictions.write_text(json.dumps([{**entries[0], "score": 0.1}, *entries[1:]]))
    with pytest.raises(FormatError, match=r"\(predictions\)"):
        repeated.open()


def test_a_broken_image_says_what_is_kept_and_once_repaired_the_run_goes_on(repeated, toy_coco):
    photo = toy_coco.images / "000000000012.png"
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    run, make = repeated.open()
    said = rf"012\.png: .*on_error=keep.*\. 2 of 4 images are done and kept beside {repeated.output}; the same command "
    with (
        pytest.raises(FormatError, match=f"{said}resumes, with the image repaired or with on_error=keep$"),
        run.resumable(),
    ):
        predict(run, make)
    run.shards._lock.release()
    photo.write_bytes(whole)
    run, make = repeated.open()
    assert len(run.left) == 2
    assert predict(run, make)
    assert run.finish().summary.kept == ()


def test_a_broken_image_is_kept_by_a_repeat_that_keeps_and_not_by_one_that_stops(repeated, toy_coco):
    photo = toy_coco.images / "000000000012.png"
    photo.write_bytes(photo.read_bytes()[:-2000])
    run, make = repeated.open()
    with pytest.raises(FormatError, match="2 of 4"):
        predict(run, make)
    run.shards._lock.release()
    run, make = repeated.open("on_error=keep")
    assert len(run.left) == 2
    assert predict(run, make)
    run.shards._lock.release()
    with pytest.raises(FormatError, match=r"012\.png: .*repeat on_error=keep"):
        repeated.open()
    assert len(repeated.finished("on_error=keep").summary.kept) == 1


def test_a_repaired_image_beside_its_label_is_no_other_prediction(repeated, tmp_path):
    folder = MAKE["labelme"](tmp_path, ["a", "b"])
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for name in ("a", "b"):
        Image.fromarray(noise).save(folder / f"{name}.jpg")
    whole = (folder / "b.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(whole[:-300])
    options = f"images={folder}", f"predictions={folder}", f"output={tmp_path / 'refined'}", "annotations=null"
    run, make = repeated.open(*options)
    with pytest.raises(FormatError, match=r"b\.jpg: cannot be decoded"):
        predict(run, make)
    run.shards._lock.release()
    (folder / "b.jpg").write_bytes(whole)
    run, make = repeated.open(*options)
    assert predict(run, make)
    assert run.finish().summary.images == 2


def test_a_run_is_not_resumed_where_annotations_give_images_other_ids(repeated, tmp_path):
    folder = MAKE["labelme"](tmp_path, ["a", "b"])
    for name in ("a", "b"):
        Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.jpg")
    listed = [{"id": 7 + i, "file_name": f"{n}.jpg", "height": SIZE[0], "width": SIZE[1]} for i, n in enumerate("ab")]
    (tmp_path / "truth.json").write_text(json.dumps({"images": listed}))
    options = f"images={folder}", f"predictions={folder}", f"output={tmp_path / 'refined'}"
    repeated.interrupted(*options, "annotations=null", after=1)
    with pytest.raises(FormatError, match=r"\(images\)"):
        repeated.open(*options, f"annotations={tmp_path / 'truth.json'}")


def test_results_of_a_run_that_finished_before_the_output_was_locked_are_kept(repeated, monkeypatch):
    claim = RefinementRun.claim

    def claim_late(run):
        repeated.output.write_text("of another run")
        claim(run)

    monkeypatch.setattr(RefinementRun, "claim", claim_late)
    with pytest.raises(FormatError, match="exists; give another `output`"):
        repeated.open()
    assert repeated.output.read_text() == "of another run"
    assert [*repeated.output.parent.glob(f"*{repeated.output.name}*")] == [repeated.output]


def test_what_is_kept_is_said_where_memory_runs_out(repeated, capsys):
    run, make = repeated.open(after=2, error=MemoryError())
    with pytest.raises(MemoryError), run.resumable():
        predict(run, make)
    assert "2 of 4 images are done and kept" in capsys.readouterr().err


def test_a_run_is_not_resumed_on_other_panoptic_images(toy_coco, repeated):
    root, annotations = toy_coco.root / "panoptic", []
    root.mkdir()
    entries = json.loads(toy_coco.predictions.read_text())
    for image_id in (10, 11, 12, 13):
        first = next(entry for entry in entries if entry["image_id"] == image_id)
        ids = rle.decode(first["segmentation"]).astype(np.uint8)
        name = f"{image_id:012d}.png"
        Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], 2)).save(root / name)
        segment = {"id": 1, "category_id": 1, "score": 0.9}
        annotations.append({"image_id": image_id, "file_name": name, "segments_info": [segment]})
    content = {"annotations": annotations, "categories": [{"id": 1, "name": "disc", "isthing": 1}]}
    predictions = root.with_suffix(".json")
    predictions.write_text(json.dumps(content))
    repeated.interrupted(f"predictions={predictions}")
    ids[0, 0] = 1
    Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], 2)).save(root / name)
    with pytest.raises(FormatError, match=r"\(predictions\)"):
        repeated.open(f"predictions={predictions}")


def test_overwriting_replaces_other_runs_and_resumes_the_same(repeated):
    repeated.interrupted()
    run, _ = repeated.open("overwrite=true")
    assert len(run.left) == 2
    run.shards._lock.release()
    run, _ = repeated.open("overwrite=true", "threshold=0.6")
    assert len(run.left) == 4


def test_scores_sheet_and_report_need_neither_file_again(repeated, refine, toy_coco, capsys, monkeypatch, tmp_path):
    import bpr.refine.run as module

    finish = module.OpenRun.finish

    def without_files(run):
        finished = finish(run)
        toy_coco.predictions.unlink()
        repeated.output.unlink()
        return finished

    monkeypatch.setattr(module.OpenRun, "finish", without_files)
    given = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"output={repeated.output}"]
    refine(*given, f"annotations={toy_coco.annotations}", "contact_sheet=true", "report=true")
    printed = capsys.readouterr().out
    assert "Boundary AP" in printed
    assert "before and after: " in printed
    assert "report: " in printed


def test_no_more_processes_are_started_than_there_are_images():
    make = partial(Trainer, accelerator="cpu", devices=4, strategy="ddp", logger=False, enable_checkpointing=False)
    assert capped_trainer(make, 2).world_size == 2
    assert capped_trainer(make, 0).world_size == 1
    assert capped_trainer(make, 9).world_size == 4


def torchrun(repeated, toy, weights, processes=2):
    """``refine.py`` in processes that something else has started, one of which has no image."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += [ROOT / "refine.py", f"images={toy.images}", f"predictions={toy.predictions}", f"ckpt={weights}"]
    command += ["patch.size=32", f"output={repeated.output}", "images_per_batch=1", "threads=1"]
    command += ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    command += ["trainer.enable_progress_bar=false", f"hydra.run.dir={repeated.output.parent / 'run'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=toy.root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_a_process_without_images_waits_for_the_others(repeated, toy_coco, weights):
    entries = json.loads(toy_coco.predictions.read_text())[:3]
    toy_coco.predictions.write_text(json.dumps(entries))
    done = torchrun(repeated, toy_coco, weights)
    assert done.stdout.count("1 image, 3 instances") == 1
    assert len(json.loads(repeated.output.read_text())) == 3


def test_with_nothing_left_one_process_writes_the_results(repeated, toy_coco, weights):
    run, make = repeated.open()
    predict(run, make)
    run.shards._lock.release()
    done = torchrun(repeated, toy_coco, weights)
    assert done.stdout.count("4 images, 12 instances") == 1
    assert len(json.loads(repeated.output.read_text())) == 12
    assert not run.shards.folder.exists()


def test_a_gpu_gets_workers_and_a_cpu_none():
    assert workers_ahead_of(torch.device("cpu")) == 0
    assert 1 <= workers_ahead_of(torch.device("cuda")) <= 8


@pytest.mark.parametrize("name", ["refined.json.parts", "refined.json.parts.lock"])
def test_files_of_the_user_that_have_the_names_of_our_own_are_kept(repeated, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FormatError, match="is a file of yours; rename it"):
        repeated.open()
    assert (tmp_path / name).read_text() == "mine"
    assert not repeated.output.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda line: '{"a":1}', r"rank0-0\.jsonl, line 2: .*remove this file"),
        (lambda line: re.sub(r'"masks":\{"\d+"', '"masks":{"999"', line), r"rank0-0\.jsonl: .*remove this file"),
    ],
)
def test_a_damaged_shard_is_named_with_its_remedy(repeated, spoil, message):
    run = repeated.interrupted()
    (shard,) = run.shards.folder.glob("*.jsonl")
    first, second, *rest = shard.read_text().splitlines()
    shard.write_text("\n".join([first, spoil(second), *rest]) + "\n")
    with pytest.raises(FormatError, match=message):
        repeated.finished()


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_predictions_are_read_three_times_with_scores_and_report(repeated, toy_coco, monkeypatch, form):
    """To check and find them, to refine, and to write; scores, report and contact sheet take what was written."""
    entries = json.loads(toy_coco.predictions.read_text())
    predictions = repeated.output.with_name(f"given.{form}")
    write = write_results if form == "json" else write_json_lines
    write(predictions, entries)
    parsed = []

    def counted(read):
        def wrapped(*args):
            for entry in read(*args):
                parsed.append(entry)
                yield entry

        return wrapped

    for name in ("_first_pass", "take"):
        monkeypatch.setattr(StoredEntries, name, counted(getattr(StoredEntries, name)))
    monkeypatch.setattr(digest, "_content", lambda path: "" if path != predictions else pytest.fail("read once more"))
    repeated.output = repeated.output.with_suffix(f".{form}")
    options = f"predictions={predictions}", f"annotations={toy_coco.annotations}", "report=true"
    finished = repeated.finished(*options)
    said = "\n".join(show_outcome(finished, 0.02, contact_sheet=True, settings=""))
    assert "Boundary AP" in said
    assert "report:" in said
    assert "before and after:" in said
    assert len(entries) > 3
    assert len(parsed) == 3 * len(entries) + 1  # whether there are classes is seen at the first one


def test_one_is_not_said_in_the_plural():
    printed = format_summary(RefinementSummary(1, 1, 1, 1, 1, {}), 0.1)
    assert printed.startswith("1 image, 1 instance: 1 refined in 1 patch (1 mask changed), 0 left as they are\n")
    printed = format_summary(RefinementSummary(2, 3, 2, 0, 12, {"crowd": 1}), 0.1)
    assert printed.startswith("2 images, 3 instances: 2 refined in 12 patches (0 masks changed), 1 left as they are\n")
