"""Refine with a network that returns its mask: ``python identity_run.py IMAGES COARSE OUTPUT DEVICES [WORKERS]``."""

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch

from bpr.data.datamodule import RefinementDataModule
from bpr.data.inputs import read_input
from bpr.models.refiner import PatchRefiner
from bpr.models.watch import Watch
from bpr.patches.engine import Method
from bpr.refine.progress import RefinementRun
from bpr.refine.writer import RefinementWriter
from bpr.structures import PatchSpec


class Identity(torch.nn.Module):
    """Stands in for a `PatchSegmenter`; the parameter keeps DDP content."""

    config: dict[str, int] = {}  # noqa: RUF012 (as that of the network)

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))


class IdentityRefiner(PatchRefiner):
    def start_patches(self, images: torch.Tensor, coarse: torch.Tensor) -> Callable[[], torch.Tensor]:
        return coarse.float


def refine_identity(images: Path, coarse: Path, output: Path, devices: int = 1, workers: int = 0) -> None:
    given = read_input(images, coarse)
    run = RefinementRun(output, {})
    watch = Watch(run.folder, lambda: "run it again")
    strategy = "ddp" if devices > 1 else "auto"
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, logger=False, use_distributed_sampler=False,
        callbacks=[RefinementWriter(run.folder, run.digest), watch], enable_progress_bar=False,
    )  # fmt: skip
    datamodule = RefinementDataModule(run.remaining(given.records), Method(PatchSpec(32)), 1, workers)
    refiner = IdentityRefiner(Identity())  # type: ignore[arg-type]
    with watch.during(trainer):
        trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
        watch.wait()
        trainer.strategy.barrier()
    if trainer.is_global_zero:
        run.finish(given)
        run.close()


if __name__ == "__main__":
    refine_identity(*map(Path, sys.argv[1:4]), *map(int, sys.argv[4:]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
