import shlex
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from bpr.config.commands import command, same_command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def running(monkeypatch):
    """Says what Hydra knows of a run of ``train.py``: where configurations come from, and settings."""

    def says(sources, task=(), of_hydra=(), name="train"):
        sources = [{"provider": provider, "path": str(path)} for provider, path in sources.items()]
        run = {"runtime": {"config_sources": sources}, "job": {"config_name": name}}
        run |= {"overrides": {"task": [*task], "hydra": [*of_hydra]}}
        monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": run}))
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
        return shlex.split(same_command("train.py", ckpt="last.ckpt"))[2:]

    return says


def test_a_script_is_named_where_it_lies_and_else_by_bpr(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    monkeypatch.chdir(ROOT)
    assert command("refine.py", "images=a b") == "python refine.py 'images=a b'"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refine.py").touch()  # somebody else's
    assert command("refine.py", "images=a b") == "bpr refine 'images=a b'"


def test_settings_are_repeated_but_for_those_that_change(running):
    assert running({"main": ROOT / "conf"}, ["seed=1", "ckpt=old", "~logger"], ["hydra.run.dir=x"]) == [
        "seed=1",
        "~logger",
        "ckpt=last.ckpt",
    ]


def test_a_configuration_of_the_user_is_repeated_too(running):
    assert running({"main": ROOT / "conf", "command-line": "/mine"}, ["data=mine"], name="own") == [
        "--config-dir=/mine",
        "--config-name=own",
        "data=mine",
        "ckpt=last.ckpt",
    ]
    assert running({"main": "/mine"}) == ["--config-path=/mine", "ckpt=last.ckpt"]
    assert running({"main": ROOT / "conf"}, [], ["hydra.searchpath=[/mine]"]) == [
        "hydra.searchpath=[/mine]",
        "ckpt=last.ckpt",
    ]
