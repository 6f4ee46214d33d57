import runpy
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from pytorch_lightning import Callback

from bpr.config import build, refine_values, register_schemas
from bpr.models.segmenter import PatchSegmenter
from bpr.models.trainer import build_trainer
from bpr.models.weights import save_segmenter
from bpr.refine.run import open_run, predict
from bpr.refine.settings import RefineSettings

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


class Interrupt(Callback):
    """Ends a prediction after so many batches."""

    def __init__(self, after):
        self.after = after

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == self.after:
            raise RuntimeError("interrupted")


class Repeated:
    """The same refinement again and again, with changes."""

    def __init__(self, composed, toy, weights, folder):
        self._composed, self._folder = composed, folder
        self._given = [f"images={toy.images}", f"predictions={toy.predictions}", f"ckpt={weights}"]
        self.output = folder / "refined.json"

    def open(self, *overrides, after=None):
        cfg = self._composed(*self._given, f"output={self.output}", "images_per_batch=1", *overrides)

        def make(callbacks=(), **options):
            more = [] if after is None else [Interrupt(after)]
            return build_trainer(partial(build, cfg.trainer), callbacks=[*callbacks, *more], **options)

        settings = RefineSettings.from_config(refine_values(cfg), self._folder / "run")
        return open_run(settings, make), make

    def interrupted(self, *overrides, after=2):
        run, make = self.open(*overrides, after=after)
        with pytest.raises(RuntimeError, match="interrupted"):
            predict(run, make)
        run.shards._lock.release()
        return run

    def finished(self, *overrides):
        run, make = self.open(*overrides)
        assert predict(run, make)
        return run.finish()


@pytest.fixture
def repeated(composed, toy_coco, weights, tmp_path):
    return Repeated(composed, toy_coco, weights, tmp_path)
