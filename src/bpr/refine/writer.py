"""Lightning's end of refinement: paste each batch and append it to the shard of this process."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities.exceptions import SIGTERMException

from bpr import rle
from bpr.data.batches import ImageWindows, RefinementBatch
from bpr.models.refiner import RefinedPatches
from bpr.patches.pasting import paste
from bpr.refine.shards import RefinedImage, ShardWriter
from bpr.structures import Probabilities

EMPTIED: Final = "refinement would leave no pixel"
"""Why a coarse mask is kept although it went through the network."""


def paste_image(
    layout: ImageWindows, probabilities: Probabilities, threshold: float = 0.5, keep_emptied: bool = True
) -> RefinedImage:
    """Turn the patches of one image into refined masks.

    Args:
        layout: Where the patches belong.
        probabilities: (n, s, s) in [0, 1], n = ``layout.patches``, in the order of the layout.
        threshold: Mean probability above which a pixel is foreground.
        keep_emptied: Keep a coarse mask of which nothing would be left, and count it among the skipped ones.
    """
    start = perf_counter()
    first, changed, pasted, skipped = 0, 0, {}, Counter(layout.skipped)
    for window in layout.windows:
        last = first + len(window.boxes)
        boxes = window.boxes - np.tile(window.window[:2], 2)
        mask = paste(window.mask, probabilities[first:last], boxes, threshold)
        first = last
        if keep_emptied and not mask.any():
            skipped[EMPTIED] += 1
        else:
            pasted[window.position] = mask, window.window
            changed += not np.array_equal(mask, window.mask)
    middle = perf_counter()
    masks = {position: rle.encode(mask, where, layout.size) for position, (mask, where) in pasted.items()}
    seconds = {**layout.seconds, "paste": middle - start, "encode": perf_counter() - middle}
    return RefinedImage(layout.image_id, masks, changed, layout.patches, dict(skipped), seconds)


class RefinementWriter(BasePredictionWriter):
    """Writes every batch as soon as it is predicted, so that nothing piles up in memory.

    Args:
        folder: Of the shards.
        run: Digest of the run.
        threshold: Mean probability above which a pixel is foreground.
        keep_emptied: As of `paste_image`.
    """

    def __init__(self, folder: Path, run: str, threshold: float = 0.5, keep_emptied: bool = True) -> None:
        super().__init__(write_interval="batch")
        self._folder, self._run, self._threshold, self._keep_emptied = folder, run, threshold, keep_emptied
        self._shard: ShardWriter | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the shard of this process."""
        self._shard = ShardWriter(self._folder, self._run, trainer.global_rank)

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Paste and append the images of one batch."""
        assert isinstance(prediction, RefinedPatches)
        assert isinstance(batch, RefinementBatch)
        assert self._shard is not None
        probabilities, first = prediction.probabilities.float().numpy(), 0
        for layout in batch.layouts:
            part = probabilities[first : first + layout.patches]
            image = paste_image(layout, part, self._threshold, self._keep_emptied)
            first += layout.patches
            image.seconds["network"] = prediction.seconds * layout.patches / max(len(probabilities), 1)
            self._shard.write(image)
        if trainer.received_sigterm:  # Lightning only looks at it while it trains
            raise SIGTERMException

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the shard."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the shard; what is in it counts when the run is repeated."""
        if self._shard is not None and isinstance(exception, KeyboardInterrupt | SIGTERMException):
            print(f"interrupted; the same command goes on from what is in {self._folder}", file=sys.stderr)
        self._close()

    def _close(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
