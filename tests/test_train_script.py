import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from bpr.models.refiner import load_refiner

ROOT = Path(__file__).parents[1]


def train(toy, folder, *overrides, check=True):
    sets = f"[{{images: '{toy.images}', annotations: '{toy.annotations}', predictions: ['{toy.predictions}']}}]"
    command = [sys.executable, ROOT / "train.py", "debug=fast", f"data.train={sets}", f"data.val={sets}"]
    command += ["patch.size=32", "data.patches_per_image=2", f"hydra.run.dir={folder}", "threads=1", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(toy.root / "cache"), "WANDB_MODE": "offline"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=toy.root, env=environment, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def weights_of(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_an_interrupted_training_goes_on_exactly(toy_coco, tmp_path):
    options = ["trainer.max_steps=8", "optim=adamw_onecycle", "callbacks.checkpoint.every_n_train_steps=5"]
    train(toy_coco, tmp_path / "whole", *options, "callbacks.checkpoint.every_n_train_steps=8")
    # Stopped by the limit on batches in the middle of an epoch, with the schedule of the whole training.
    train(toy_coco, tmp_path / "first", *options, "trainer.max_steps=5", "optim.scheduler.total_steps=8")
    train(toy_coco, tmp_path / "second", *options, "callbacks.checkpoint.every_n_train_steps=8",
          f"ckpt={tmp_path / 'first' / 'checkpoints' / 'last.ckpt'}")  # fmt: skip
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "second")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_a_training_logs_its_figures_beside_the_coarse_ones_and_its_checkpoint_refines(toy_coco, tmp_path):
    printed = train(toy_coco, tmp_path / "run").stdout
    assert [line.split()[:2] for line in printed.splitlines()[-5:-2]] == [
        ["coarse", "masks"],
        ["step", "2"],
        ["step", "4"],
    ]
    assert f"python refine.py ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}" in printed
    with (tmp_path / "run" / "csv" / "metrics.csv").open() as file:
        columns = set(next(csv.reader(file)))
    expected = {f"val/{prefix}{name}" for prefix in ("", "coarse_") for name in ("iou", "accuracy", "boundary_f")}
    assert expected | {"train/loss", "val/loss"} <= columns
    refiner = load_refiner(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert refiner.segmenter.input_size == 32
    assert not refiner.training


def test_one_batch_can_be_learnt_by_heart(toy_coco, tmp_path):
    options = ["debug=overfit", "data.train=${data.val}", "data.batch_size=4", "trainer.max_steps=60"]
    train(toy_coco, tmp_path / "run", *options)
    with (tmp_path / "run" / "csv" / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert losses[-1] < 0.1 < losses[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [("patch.size=33", "patch.size must be an even number"), ("data.batch_size=5", "must be a multiple of")],
)
def test_impossible_values_end_with_a_message(toy_coco, tmp_path, override, message):
    done = train(toy_coco, tmp_path / "run", override, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_wandb_is_a_choice_and_works_offline(toy_coco, tmp_path):
    train(toy_coco, tmp_path / "run", "logger=wandb")
    assert list((tmp_path / "run").rglob("*.wandb"))


def test_missing_files_end_in_one_line(toy_coco, tmp_path):
    toy_coco.predictions.unlink()
    done = train(toy_coco, tmp_path / "run", check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("check the path")
    assert "Traceback" not in done.stderr


def test_a_sweep_runs_a_job_for_every_pair_of_values(toy_coco, tmp_path):
    sweep = ["patch.size=32,64", "patch.nms_iou=0.25,0.55", "trainer.max_steps=1"]
    train(toy_coco, tmp_path / "unused", *sweep, f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m")
    settings = set()
    for job in (tmp_path / "sweep" / str(number) for number in range(4)):
        patch = yaml.safe_load((job / ".hydra" / "config.yaml").read_text())["patch"]
        settings.add((patch["size"], patch["nms_iou"]))
        assert list((job / "csv").glob("metrics.csv"))
    assert settings == {(32, 0.25), (32, 0.55), (64, 0.25), (64, 0.55)}
