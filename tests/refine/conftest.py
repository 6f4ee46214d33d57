import runpy
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from bpr.config import register_schemas
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A random network that runs fast."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    segmenter = PatchSegmenter(input_size=32)
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    save_segmenter(segmenter, path)
    return path


@pytest.fixture
def composed(tmp_path):
    """The configuration of ``refine.py`` with some overrides, as Hydra gives it to ``main``."""

    def compose_refine(*overrides):
        register_schemas()
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            small = ["patch.size=32", "threads=1", "trainer.accelerator=cpu", "trainer.devices=1"]
            small += ["trainer.enable_progress_bar=false", f"hydra.runtime.output_dir={tmp_path / 'run'}"]
            small += [f"paths.cache={tmp_path / 'cache'}"]
            cfg = compose("refine", [*small, *map(str, overrides)], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    yield compose_refine
    HydraConfig.instance().cfg = None


@pytest.fixture
def refine(composed, weights):
    """Run ``refine.py`` in this process; it ends with a SystemExit where ``python refine.py`` ends early."""
    main = runpy.run_path(str(ROOT / "refine.py"))["main"].__wrapped__

    def run(*overrides):
        chosen = [] if any(str(o).startswith("ckpt=") for o in overrides) else [f"ckpt={weights}"]
        main(composed(*chosen, *overrides))

    return run
