"""The name of a file, as ``*`` on the command line gives it, is an override or an interpolation of Hydra."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from bpr.config.overrides import prepared
from bpr.config.schemas import RefineConf, register_schemas

CONF = Path(__file__).parents[2] / "conf"
NAMES = [
    "${oc.env:HOME}",
    "${hydra:runtime.cwd}",
    "a,hydra.run.dir=b",
    "a hydra.run.dir=b",
    "{hydra: 1}",
    "[a,b]",
    "range(1,3)",
    "'${oc.env:HOME}",
    "a'b${oc.env:HOME}",
    "\\${oc.env:HOME}",
    "$(touch a)",
    "a;b",
]


@pytest.fixture
def composed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: compose("refine", list(overrides))
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_file_is_no_more_than_that(composed, name):
    Path(name).mkdir()
    given = prepared([f"images={name}", f"predictions={Path(name).absolute()}"], RefineConf)
    cfg = composed(*given)
    assert cfg.images == name
    assert cfg.predictions == str(Path(name).absolute())
    assert prepared(given, RefineConf) == given  # as Lightning hands them to further processes
