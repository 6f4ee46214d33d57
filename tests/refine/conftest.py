from functools import partial

import pytest
from pytorch_lightning import Callback

from bpr.config.schemas import build, refine_values
from bpr.models.trainer import build_trainer
from bpr.refine.run import open_run, predict
from bpr.refine.settings import RefineSettings


class Interrupt(Callback):
    """Ends a prediction after so many batches."""

    def __init__(self, after, error):
        self.after, self.error = after, error

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == self.after:
            raise self.error


class Repeated:
    """The same refinement again and again, with changes."""

    def __init__(self, composed, toy, weights, folder):
        self._composed, self._folder = composed, folder
        self._given = [f"images={toy.images}", f"predictions={toy.predictions}", f"ckpt={weights}"]
        self.output = folder / "refined.json"

    def open(self, *overrides, after=None, error=None):
        cfg = self._composed(*self._given, f"output={self.output}", "images_per_batch=1", *overrides)

        def make(callbacks=(), **options):
            more = [] if after is None else [Interrupt(after, error or RuntimeError("interrupted"))]
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
        finished = run.finish()
        run.shards.close()
        return finished


@pytest.fixture
def repeated(composed, toy_coco, weights, tmp_path):
    return Repeated(composed, toy_coco, weights, tmp_path)
