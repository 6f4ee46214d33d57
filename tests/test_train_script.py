import csv
import os
import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from bpr.config.schemas import register_schemas
from bpr.formats.errors import FormatError
from bpr.models.callbacks import StepCheckpoint
from bpr.models.refiner import PatchRefiner, load_refiner
from bpr.structures import SettingError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def train(toy_coco, monkeypatch):
    """Train as ``python train.py debug=fast`` does, on the toy data set, in this process."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")  # set by seed_everything; the environment is restored after the test
    main = runpy.run_path(str(ROOT / "train.py"))["train"]  # which leaves no bytecode there, as an import does
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    monkeypatch.chdir(ROOT)
    register_schemas()
    interrupt = signal.getsignal(signal.SIGINT)  # Lightning ignores the signal once it was interrupted

    def run(folder, *overrides, start=None):
        settings = [*of_toy(toy_coco), f"paths.cache={toy_coco.root / 'cache'}"] if start is None else start
        settings = [*settings, *overrides]
        cfg = compose("train", [*settings, f"hydra.runtime.output_dir={folder}"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return main(cfg)

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield run
    GlobalHydra.instance().clear()
    signal.signal(signal.SIGINT, interrupt)


def of_toy(toy):
    sets = f"[{{images: '{toy.images}', annotations: '{toy.annotations}', predictions: ['{toy.predictions}']}}]"
    small = ["model.net.backbone=hrnet_w18_small", "patch.size=32", "data.patches_per_image=2", "threads=1"]
    return ["debug=fast", f"data.train={sets}", f"data.val={sets}", *small]


def run_script(toy, *overrides):
    """``python train.py`` in a process of its own."""
    command = [sys.executable, ROOT / "train.py", *of_toy(toy), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(toy.root / "cache"), "WANDB_MODE": "offline"}
    return subprocess.run(command, capture_output=True, text=True, cwd=toy.root, env=environment, check=False)


def last(folder):
    return folder / "checkpoints" / "last.ckpt"


def weights_of(folder):
    return torch.load(last(folder), weights_only=True)["state_dict"]


def column(folder, name):
    """Values of a logged figure, by step."""
    with (folder / "csv" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def interrupt_at(monkeypatch, step):
    """Let Ctrl-C come in a training step."""
    original = PatchRefiner.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    monkeypatch.setattr(PatchRefiner, "training_step", training_step)


@pytest.mark.parametrize("more", [[], ["callbacks=ema", "optim=sgd_poly"]])
def test_an_interrupted_training_says_which_command_resumes_it_and_that_ends_as_if_never_interrupted(
    train, tmp_path, monkeypatch, capsys, more
):
    options = ["trainer.max_steps=8", "optim=adamw_onecycle", "callbacks.checkpoint.every_n_train_steps=5", *more]
    train(tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(SystemExit):
            train(tmp_path / "broken", *options)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("interrupted at step 7: ")]
    command = shlex.split(line.removeprefix("interrupted at step 7: ").removesuffix(" resumes"))
    assert command[:2] == ["python", "train.py"]
    assert command[-1] == f"ckpt={last(tmp_path / 'broken')}"
    train(tmp_path / "resumed", start=command[2:])
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "resumed")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)
    pictures = [tmp_path / run / "csv" / "pictures" / "step000008.png" for run in ("whole", "resumed")]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    names = ["train/loss", "val/loss", "val/boundary_f", "lr-SGD" if "callbacks=ema" in more else "lr-AdamW"]
    for name in names:
        assert column(tmp_path / "resumed", name) == pytest.approx(column(tmp_path / "whole", name), rel=1e-6), name


def test_a_finished_training_is_prolonged_on_the_longer_curve_of_its_learning_rate(train, tmp_path):
    options = ["optim=adamw_onecycle", "trainer.limit_val_batches=0"]
    train(tmp_path / "short", *options, "trainer.max_steps=4")
    train(tmp_path / "longer", *options, "trainer.max_steps=7", f"ckpt={last(tmp_path / 'short')}")
    train(tmp_path / "whole", *options, "trainer.max_steps=7")
    rates, whole = (column(tmp_path / run, "lr-AdamW") for run in ("longer", "whole"))
    assert [*rates] == [*whole] == [*range(7)]
    assert [rates[step] for step in (4, 5, 6)] == [whole[step] for step in (4, 5, 6)]
    assert torch.load(last(tmp_path / "longer"), weights_only=True)["global_step"] == 7


def test_the_last_step_is_saved_whatever_the_interval(train, tmp_path):
    train(tmp_path, "trainer.max_steps=3", "callbacks.checkpoint.every_n_train_steps=2")
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 3


def test_the_default_training_saves_before_its_end(train):
    cfg = compose("train")
    assert cfg.callbacks.checkpoint._target_.endswith(StepCheckpoint.__name__)
    assert 0 < cfg.callbacks.checkpoint.every_n_train_steps <= cfg.trainer.max_steps / 3


def test_a_training_logs_its_figures_beside_the_coarse_ones_and_its_checkpoint_refines(train, tmp_path, capsys):
    score = train(tmp_path / "run")
    printed = capsys.readouterr().out
    table = [line.split()[:2] for line in printed.splitlines()[-5:-2]]
    assert table == [["coarse", "masks"], ["step", "2"], ["step", "4"]]
    assert f"python refine.py ckpt={last(tmp_path / 'run')}" in printed
    names = {f"val/{prefix}{name}" for prefix in ("", "coarse_") for name in ("iou", "accuracy", "boundary_f")}
    assert all(column(tmp_path / "run", name) for name in (*names, "train/loss", "val/loss"))
    assert score == pytest.approx([*column(tmp_path / "run", "val/boundary_f").values()][-1])
    refiner = load_refiner(last(tmp_path / "run"))
    assert refiner.segmenter.input_size == 32
    assert not refiner.training


def test_one_batch_can_be_learnt_by_heart(train, tmp_path):
    small = ["data.batch_size=4", "model.net.input_size=32", "trainer.max_steps=60"]
    train(tmp_path, "debug=overfit", "data.train=${data.val}", "trainer.limit_val_batches=0", *small)
    losses = [*column(tmp_path, "train/loss").values()]
    assert losses[-1] < 0.1 < losses[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("patch.size=33", r"patch\.size must be an even number"),
        ("threads=0", "threads must be at least 1, got 0"),
        ("seed=-1", "seed must be at least 0, got -1"),
        ("optim.optimizer.lr=-1", "optim: Invalid learning rate: -1"),
        ("trainer.max_steps=-1", r"set trainer\.max_steps"),
    ],
)
def test_impossible_values_are_refused_by_name(train, tmp_path, override, message):
    with pytest.raises(SettingError, match=message):
        train(tmp_path, override)


def test_bad_input_ends_in_one_line(toy_coco):
    done = run_script(toy_coco, "trainer.strategy=ddq", "experiment=null")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: trainer: You selected an invalid strategy name")
    assert "Traceback" not in done.stderr


def test_missing_files_are_named(train, toy_coco, tmp_path):
    toy_coco.predictions.unlink()
    with pytest.raises(FormatError, match=r"coarse\.json.*check the path"):
        train(tmp_path)


def test_wandb_is_a_choice_and_works_offline(toy_coco, tmp_path):
    steps = ["trainer.max_steps=1", "trainer.val_check_interval=1"]
    done = run_script(toy_coco, "logger=wandb", *steps, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run").rglob("*.wandb"))
    assert len(list((tmp_path / "run").rglob("media/images/val/patches_*.png"))) == 8  # two batches of four


def test_a_sweep_runs_a_job_for_every_pair_of_values(toy_coco, tmp_path):
    sweep = ["patch.size=32,64", "patch.nms_iou=0.25,0.55", "trainer.max_steps=1"]
    done = run_script(toy_coco, *sweep, f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m")
    assert done.returncode == 0, done.stderr
    settings = set()
    for job in (tmp_path / "sweep" / str(number) for number in range(4)):
        patch = yaml.safe_load((job / ".hydra" / "config.yaml").read_text())["patch"]
        settings.add((patch["size"], patch["nms_iou"]))
        assert list((job / "csv").glob("metrics.csv"))
    assert settings == {(32, 0.25), (32, 0.55), (64, 0.25), (64, 0.55)}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([], True),
        (["trainer.max_epochs=50"], True),  # of the 90 steps, which come first
        (["experiment=hrnet18s_128"], False),
        (["trainer.max_steps=900"], False),
    ],
)
def test_data_of_ones_own_in_the_recipe_of_the_demo_is_remarked_on(train, tmp_path, capsys, chosen, said):
    start = ["data=coco", f"paths.data={tmp_path}", f"paths.cache={tmp_path}", "model=shipped", *chosen]
    with pytest.raises(FormatError, match="cannot be read"):
        train(tmp_path / "run", "trainer.accelerator=cpu", "trainer.devices=1", start=start)
    assert ("note: this is the recipe of the demo (90 steps, accelerator cpu)" in capsys.readouterr().out) == said
