import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hydra.errors import ConfigCompositionException

from bpr import rle
from bpr.config.run_folder import without_empty_folder
from bpr.config.schemas import refine_values
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter
from bpr.refine.settings import RefineSettings
from bpr.structures import SettingError

ROOT = Path(__file__).parents[2]


def refine_process(toy, folder, *overrides, check=True, start=()):
    command = [sys.executable, *start, ROOT / "refine.py", f"images={toy.images}", f"predictions={toy.predictions}"]
    command += ["patch.size=32", f"output={folder / 'refined.json'}", f"hydra.run.dir={folder / 'run'}", "threads=1"]
    command += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.enable_progress_bar=false", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_an_identity_network_on_two_processes_gives_back_the_input(toy_coco, tmp_path):
    script, output = ROOT / "tests" / "refine" / "identity_run.py", tmp_path / "refined.json"
    command = [sys.executable, script, toy_coco.images, toy_coco.predictions, output, "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "MEMBER: 2/2" in done.stderr
    before, after = (json.loads(path.read_text()) for path in (toy_coco.predictions, output))
    assert [entry["segmentation"] for entry in after] == [entry["segmentation"] for entry in before]


def test_results_keep_order_and_fields_and_do_not_depend_on_batches_or_processes(
    toy_coco, tmp_path, weights, refine, capsys
):
    coarse = json.loads(toy_coco.predictions.read_text())
    variants = {
        "one": ["images_per_batch=1", "patches_per_forward=1"],
        "many": [f"annotations={toy_coco.annotations}", "contact_sheet=true"],
        "two": ["trainer.devices=2", "trainer.strategy=ddp", "num_workers=1"],
    }
    masks, printed = {}, {}
    for name, overrides in variants.items():
        (tmp_path / name).mkdir()
        if name == "two":
            printed[name] = refine_process(toy_coco, tmp_path / name, f"ckpt={weights}", *overrides).stdout
        else:
            given = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}"]
            refine(*given, f"output={tmp_path / name / 'refined.json'}", *overrides)
            printed[name] = capsys.readouterr().out
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


def test_two_runs_do_not_write_to_one_output(toy_coco, tmp_path, refine):
    options = [
        f"images={toy_coco.images}",
        f"predictions={toy_coco.predictions}",
        f"output={tmp_path / 'refined.json'}",
    ]
    with (
        FileLock(tmp_path / "refined.json.parts.lock"),
        pytest.raises(SystemExit, match=r"refined\.json: another refine\.py is writing to it"),
    ):
        refine(*options, "overwrite=true")
    refine(*options)
    assert (tmp_path / "refined.json").exists()
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.campaign), 2])
def test_nothing_is_written_to_the_current_folder_where_the_output_is_given(toy_coco, tmp_path, weights, devices):
    command = [sys.executable, ROOT / "refine.py", f"images={toy_coco.images}", f"predictions={toy_coco.predictions}"]
    command += [f"ckpt={weights}", f"output={tmp_path / 'made' / 'refined.json'}", "patch.size=32", "threads=1"]
    command += ["trainer.accelerator=cpu", f"trainer.devices={devices}", "trainer.enable_progress_bar=false"]
    command += [f"trainer.strategy={'auto' if devices == 1 else 'ddp'}"]
    nowhere = "/proc"  # in which not even root can write
    done = subprocess.run(command, capture_output=True, text=True, cwd=nowhere, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["refined.json"]


@pytest.mark.parametrize(
    ("number", "devices"),
    [
        (signal.SIGINT, 1),
        (signal.SIGTERM, 2),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.campaign),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.campaign),
    ],
)
def test_a_run_ends_at_a_signal_and_says_once_what_is_kept(toy_coco, tmp_path, weights, number, devices):
    entries = json.loads(toy_coco.predictions.read_text())
    many = tmp_path / "many.json"  # so many that it is still at work when the signal comes
    many.write_text(json.dumps([{**entry, "image_id": f"{entry['image_id']:012d}"} for entry in entries] * 60))
    command = [sys.executable, ROOT / "refine.py", f"images={toy_coco.images}", f"predictions={many}", "threads=1"]
    command += ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "images_per_batch=1", "input_size=64"]
    command += [f"ckpt={weights}", f"output={tmp_path / 'refined.json'}", f"hydra.run.dir={tmp_path / 'run'}"]
    command += [f"trainer.devices={devices}", f"trainer.strategy={'auto' if devices == 1 else 'ddp'}"]
    options = {"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "start_new_session": True}
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in jobs of the background
    process = subprocess.Popen(command, **options)
    shard = tmp_path / "refined.json.parts" / "rank0-0.jsonl"
    deadline = time.monotonic() + 120
    while (not shard.exists() or shard.stat().st_size < 200) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)  # all its processes, as a terminal does
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    line = (
        rf"^interrupted: \d+ of 4 images are done and kept beside {tmp_path}/refined\.json; the same command resumes$"
    )
    assert len(re.findall(line, errors, re.M)) == 1
    assert "Traceback" not in errors
    assert shard.exists()
    assert not (tmp_path / "refined.json").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ckpt=nowhere.ckpt", r"nowhere\.ckpt: no such file"),
        ("predictions=nowhere.json", r"nowhere\.json: cannot be read"),
        ("threshold=2", "threshold must be in"),
        ("output=/proc/nowhere/refined.json", "/proc/nowhere"),
        ("trainer.accelerator=tpu", r"torch_xla.*trainer\.accelerator"),
        ("trainer.strategy=dpp", r"dpp.*trainer\.strategy"),
        ("trainer.precision=33", r"33.*trainer\.precision"),
        ("trainer.devices=0", r"devices=0.*trainer\.devices"),
    ],
)
def test_bad_input_ends_in_one_line_with_a_remedy(toy_coco, tmp_path, refine, override, message):
    options = [
        f"images={toy_coco.images}",
        f"predictions={toy_coco.predictions}",
        f"output={tmp_path / 'refined.json'}",
    ]
    with pytest.raises(SystemExit, match=message) as end:
        refine(*options, override)
    assert str(end.value.code).startswith("error: ")
    assert "\n" not in str(end.value.code)
    assert not (tmp_path / "refined.json").exists()


def test_a_bad_value_of_a_choice_ends_without_a_trace(toy_coco, tmp_path):
    done = refine_process(toy_coco, tmp_path, "backend=onyx", check=False)
    assert done.returncode == 1
    assert (
        "error: backend must be one of eager, compile, openvino, openvino_bf16, openvino_int8 or null, got onyx"
        in done.stderr.splitlines()
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("log", "stays"), [("", False), ("a warning", True)])
def test_a_run_that_fails_leaves_no_empty_folder(toy_coco, tmp_path, refine, log, stays):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / "refine.log").write_text(log)
    with pytest.raises(SystemExit, match="nowhere"):
        refine(f"images={toy_coco.images}", f"predictions={tmp_path / 'nowhere.json'}")
    assert (tmp_path / "run").exists() is stays


def test_neither_the_current_folder_nor_one_with_results_is_removed(tmp_path, monkeypatch):
    current, used = tmp_path / "current", tmp_path / "used"
    (current / ".hydra").mkdir(parents=True)
    (used / ".hydra").mkdir(parents=True)
    (used / "refined.json.parts").mkdir()
    monkeypatch.chdir(current)
    for folder in (current, used):
        with pytest.raises(SystemExit), without_empty_folder(folder):
            sys.exit(1)
        assert folder.is_dir()


def test_predictions_without_a_mask_are_said_to_leave_nothing_to_refine(toy_coco, tmp_path, refine, capsys):
    (tmp_path / "none.json").write_text("[]")
    refine(f"images={toy_coco.images}", f"predictions={tmp_path / 'none.json'}", f"output={tmp_path / 'refined.json'}")
    assert "WARNING: there was nothing to refine, the predictions hold no mask" in capsys.readouterr().out
    assert json.loads((tmp_path / "refined.json").read_text()) == []


@pytest.mark.parametrize("name", ["instances.json", "coarse.json", "images/000000000012.png", "weights"])
def test_no_input_is_written_over_even_on_demand(toy_coco, tmp_path, weights, refine, name):
    path = weights if name == "weights" else toy_coco.root / name
    before = path.read_bytes()
    options = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}"]
    with pytest.raises(SystemExit, match="is the input"):
        refine(*options, f"annotations={toy_coco.annotations}", f"output={path}", "overwrite=true")
    assert path.read_bytes() == before


def test_pages_of_the_user_are_kept_and_our_own_replaced(toy_coco, tmp_path, refine):
    options = [
        f"images={toy_coco.images}",
        f"predictions={toy_coco.predictions}",
        f"output={tmp_path / 'refined.json'}",
    ]
    options += ["report=true", "contact_sheet=true"]
    page, sheet = tmp_path / "refined.html", tmp_path / "refined_contact_sheet.png"
    for mine in (page, sheet):
        mine.write_text("my notes")
        with pytest.raises(SystemExit, match="overwrite=true"):
            refine(*options)
        assert mine.read_text() == "my notes"
        mine.unlink()
    refine(*options)
    (tmp_path / "refined.json").unlink()
    refine(*options)  # page and sheet are those that it made
    assert b"my notes" not in page.read_bytes() + sheet.read_bytes()


def test_probabilities_that_are_not_finite_end_in_one_line_and_write_nothing(toy_coco, tmp_path, refine):
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32)
    for layer in (segmenter.decode_head.mix, segmenter.decode_head.conv_seg):
        torch.nn.init.normal_(layer.weight, std=1e30)  # finite, but not what comes out
    save_segmenter(segmenter, tmp_path / "large.safetensors")
    output = tmp_path / "refined.json"
    options = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"output={output}"]
    with pytest.raises(SystemExit, match="probabilities that are not finite") as end:
        refine(*options, f"ckpt={tmp_path / 'large.safetensors'}")
    assert str(end.value.code).startswith("error: ")
    assert not output.exists()


@pytest.mark.parametrize("rounds", ["[object,boundary]", "[boundary,boundary]"])
def test_rounds_are_run_one_after_the_other(toy_coco, tmp_path, refine, rounds):
    options = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}"]
    refine(*options, f"output={tmp_path / 'paper.json'}")
    refine(*options, f"output={tmp_path / 'rounds.json'}", f"rounds={rounds}")
    masks = [
        [entry["segmentation"] for entry in json.loads((tmp_path / name).read_text())]
        for name in ("paper.json", "rounds.json")
    ]
    assert len(masks[0]) == len(masks[1]) == 12
    assert masks[0] != masks[1]


def test_predictions_below_min_score_come_back_as_they_are_and_are_counted(toy_coco, tmp_path, refine, capsys):
    options = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}"]
    refine(*options, f"output={tmp_path / 'all.json'}")
    capsys.readouterr()
    refine(*options, f"output={tmp_path / 'high.json'}", "min_score=0.75")
    assert "  left: 4 x score below min_score\n" in capsys.readouterr().out
    everything, high = (json.loads((tmp_path / name).read_text()) for name in ("all.json", "high.json"))
    before = json.loads(toy_coco.predictions.read_text())
    expected = [new if old["score"] >= 0.75 else old for old, new in zip(before, everything, strict=True)]
    assert high == expected != before


@pytest.mark.parametrize("rounds", ["[]", "[objekt]"])
def test_impossible_rounds_are_refused(composed, rounds):
    with pytest.raises((SettingError, ConfigCompositionException), match=r"rounds"):
        RefineSettings.from_config(refine_values(composed(f"rounds={rounds}", "images=a", "predictions=b")), "run")


def test_lenient_ids_and_unusual_paths_are_refined_scored_and_kept(toy_coco, tmp_path, weights):
    images = toy_coco.images.rename(tmp_path / "dir (1), ä=b")
    coarse = json.loads(toy_coco.predictions.read_text())
    kinds = [str, float, "{:012d}.png".format]
    for number, entry in enumerate(coarse):
        entry["image_id"] = kinds[number % 3](entry["image_id"])
        del entry["score"]
    predictions, output = tmp_path / "it's [1] #2.json", tmp_path / "refined, {1}.json"
    predictions.write_text(json.dumps(coarse))
    overrides = [f"images={images}", f"predictions={predictions}", f"annotations={toy_coco.annotations}"]
    done = refine_process(toy_coco, tmp_path, f"ckpt={weights}", *overrides, f"output={output}")
    assert "note: 12 predictions have no score: taken as 1" in done.stdout
    assert "| AP " in done.stdout
    refined = json.loads(output.read_text())
    for before, after in zip(coarse, refined, strict=True):
        assert repr({**after, "bbox": 0, "segmentation": 0}) == repr({**before, "bbox": 0, "segmentation": 0})


def test_a_refinement_imports_nothing_that_only_training_needs(toy_coco, tmp_path, weights):
    script = "import runpy, sys; runpy.run_path(sys.argv[0], run_name='__main__'); print('imported', *sys.modules)"
    done = refine_process(toy_coco, tmp_path, f"ckpt={weights}", start=["-c", f"import sys; del sys.argv[0]; {script}"])
    imported = done.stdout.partition("\nimported ")[2].split()
    assert "pytorch_lightning" in imported
    assert not {"albumentations", "skimage", "onnxruntime", "gradio"}.intersection(imported)


def test_a_misspelt_setting_ends_in_one_line(toy_coco, tmp_path):
    done = refine_process(toy_coco, tmp_path, "prediction=a.json", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: prediction is not a setting: did you mean predictions?\n"
