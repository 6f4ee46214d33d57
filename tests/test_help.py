import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bpr.config.schemas import register_schemas

ROOT = Path(__file__).parents[1]


@pytest.fixture
def composed():
    register_schemas()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield lambda name, *overrides: compose(name, list(overrides))
    GlobalHydra.instance().clear()


def help_text(name):
    (text,) = re.findall(
        r"^    template: \|\n((?:(?:      .*)?\n)+)", (ROOT / "conf" / f"{name}.yaml").read_text(), re.M
    )
    return "".join(line[6:] + "\n" for line in text.splitlines())


def examples(name):
    """The ten pairs of an indented `setting=value` and what it does."""
    return re.findall(r"^  (\S+)=(\S+)  +(\S.*)$", help_text(name), re.M)


@pytest.mark.parametrize("name", ["refine", "train"])
def test_help_names_ten_settings_and_no_wall_of_configuration(name, tmp_path):
    command = [sys.executable, ROOT / f"{name}.py", "--help"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == help_text(name).strip()
    assert len(examples(name)) == 10
    assert len(printed.splitlines()) < 25
    assert all(len(line) <= 120 for line in printed.splitlines())


@pytest.mark.parametrize(
    ("name", "setting", "value"), [(n, s, v) for n in ("refine", "train") for s, v, _ in examples(n)]
)
def test_every_setting_of_the_help_exists_and_its_example_is_taken(composed, name, setting, value):
    before, after = composed(name), composed(name, f"{setting}={value}")
    if (ROOT / "conf" / setting).is_dir():  # a choice of files; composing has found it
        assert after != before
    else:
        assert str(OmegaConf.select(after, setting)).lower() == value
        assert OmegaConf.select(before, setting) != OmegaConf.select(after, setting)


@pytest.mark.parametrize("name", ["refine", "train"])
def test_defaults_that_the_help_states_are_the_defaults(composed, name):
    cfg = composed(name)
    for setting, _, text in examples(name):
        for stated in re.findall(r"default ([\d.]+)", text):
            assert OmegaConf.select(cfg, setting) == float(stated)
