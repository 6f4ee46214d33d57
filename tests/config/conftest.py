from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from bpr.config.schemas import register_schemas


@pytest.fixture(autouse=True)
def schemas():
    """Known to Hydra, as in the scripts, whichever test comes first."""
    register_schemas()


@pytest.fixture
def composed(schemas):
    """Composes a configuration of ``conf`` by its name, with overrides."""
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        yield lambda name, *overrides: compose(name, list(overrides), return_hydra_config=False)
    GlobalHydra.instance().clear()
