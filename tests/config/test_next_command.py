import shlex
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from bpr.config.next_command import command, same_command

ROOT = Path(__file__).parents[2]
OURS = {"main": ("file", ROOT / "conf")}


@pytest.fixture
def running(monkeypatch):
    """Says how a run goes on of which Hydra knows where its configuration comes from, settings, and the folder."""

    def says(sources, task=(), of_hydra=(), name="train", cwd="/", argv=ROOT / "train.py"):
        named = [{"provider": one, "schema": kind, "path": str(path)} for one, (kind, path) in sources.items()]
        run = {"runtime": {"config_sources": named, "cwd": str(cwd)}, "job": {"config_name": name}}
        run |= {"overrides": {"task": [*task], "hydra": [*of_hydra]}}
        monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": run}))
        monkeypatch.setattr(sys, "argv", [str(argv)])
        return shlex.split(same_command("train.py", ckpt="last.ckpt"))

    return says


def test_a_script_is_named_where_it_lies_and_else_by_bpr(monkeypatch, tmp_path):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    monkeypatch.chdir(ROOT)
    assert command("refine.py", "images=a b") == "python refine.py 'images=a b'"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refine.py").touch()  # somebody else's
    assert command("refine.py", "images=a b") == "bpr refine 'images=a b'"


def test_settings_are_repeated_but_for_those_that_change(running):
    said = running(OURS, ["seed=1", "ckpt=old", "~logger"], ["hydra.run.dir=x"])
    assert said == ["bpr", "train", "seed=1", "~logger", "ckpt=last.ckpt"]


def test_a_configuration_of_the_user_is_repeated_too(running):
    mine = {"command-line": ("file", "/mine")}
    assert running({**OURS, **mine}, ["data=mine"], name="own")[2:] == [
        "--config-dir=/mine",
        "--config-name=own",
        "data=mine",
        "ckpt=last.ckpt",
    ]
    assert running({"main": ("file", "/mine")})[2:] == ["--config-path=/mine", "ckpt=last.ckpt"]
    assert running({"main": ("pkg", "mine.conf")})[2:] == ["--config-path=pkg://mine.conf", "ckpt=last.ckpt"]
    searched = "hydra.searchpath=[/mine]"
    assert running(OURS, [], [searched])[2:] == [searched, "ckpt=last.ckpt"]


@pytest.mark.parametrize("argv", ["train.py", "/launchers/submitit/_submit.py"])
def test_the_script_is_known_in_another_folder_and_under_a_launcher(running, monkeypatch, tmp_path, argv):
    monkeypatch.chdir(tmp_path)  # hydra.job.chdir=True
    assert running(OURS, cwd=ROOT, argv=argv) == ["python", "train.py", "ckpt=last.ckpt"]
