"""Train on small inputs first: a callback."""

import pytorch_lightning as pl

from bpr.data.batches import PatchBatch
from bpr.models.refiner import PatchRefiner
from bpr.models.segmenter import check_input_size


class SmallInputFirst(pl.Callback):
    """Shows the network its patches at a smaller input size for the first steps, and at its own from then on.

    Half the input size costs a quarter of the time. The size is a function of the global step alone, so that an
    interrupted training goes on as it would have. Checkpoints hold the network's own input size.

    Args:
        input_size: Of the first steps, px; a positive multiple of 32.
        steps: Optimizer steps at that size.

    Raises:
        ValueError: If ``input_size`` is none, or ``steps`` is negative.
    """

    def __init__(self, input_size: int, steps: int) -> None:
        check_input_size(input_size)
        if steps < 0:
            raise ValueError(f"steps must not be negative, got {steps}")
        self._input_size, self._steps = input_size, steps
        self._own_size: int | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the network's own input size."""
        assert isinstance(pl_module, PatchRefiner)
        self._own_size = pl_module.segmenter.input_size

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: PatchBatch, batch_idx: int
    ) -> None:
        """Choose the input size of this step; validation after it uses the same."""
        assert isinstance(pl_module, PatchRefiner)
        assert self._own_size is not None
        pl_module.segmenter.input_size = self._input_size if trainer.global_step < self._steps else self._own_size

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the network with its own input size."""
        assert isinstance(pl_module, PatchRefiner)
        assert self._own_size is not None
        pl_module.segmenter.input_size = self._own_size
