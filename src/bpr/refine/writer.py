"""Lightning's end of refinement: encode the refined masks and append them to the shard of this process."""

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities.exceptions import SIGTERMException

from bpr import rle
from bpr.data.batches import RefinementBatch
from bpr.models.refiner import RefinedImages
from bpr.patches.engine import ImageMasks
from bpr.refine.shards import RefinedImage, ShardWriter


def encode_image(coarse: ImageMasks, refined: ImageMasks) -> RefinedImage:
    """What a shard keeps of one image; refined masks with a ``reason`` stay as they came."""
    masks = {m.position: rle.encode(m.mask, m.window, refined.size) for m in refined.masks if m.reason is None}
    pairs = zip(coarse.masks, refined.masks, strict=True)
    changed = sum(not new.equals(old) for old, new in pairs if new.reason is None)
    skipped = Counter(m.reason for m in refined.masks if m.reason is not None)
    return RefinedImage(refined.image_id, masks, changed, sum(m.patches for m in refined.masks), dict(skipped))


class RefinementWriter(BasePredictionWriter):
    """Writes every batch to the shards of a run while the network sees the next one: nothing piles up in memory."""

    def __init__(self, folder: Path, digest: str, output: Path | None = None) -> None:
        """``output`` is what the user has to name to resume, if the command did not."""
        super().__init__(write_interval="batch")
        self._folder, self._digest, self._output = folder, digest, output
        self._shard: ShardWriter | None = None
        self._waiting: Future[list[RefinedImage]] | None = None
        self._thread = ThreadPoolExecutor(1, "bpr-paste")

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the shard of this process."""
        self._shard = ShardWriter(self._folder, self._digest, trainer.global_rank)

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
        """Have the images of a batch pasted and encoded in a thread, and append those of the batch before."""
        assert isinstance(batch, RefinementBatch)
        self._append()
        self._waiting = self._thread.submit(_paste_and_encode, batch, prediction)
        if trainer.received_sigterm:  # Lightning only looks at it while it trains
            raise SIGTERMException

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append what is left, and close the shard."""
        self._append()
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Append what is ready, and close the shard; what is in it counts when the run is repeated."""
        if self._shard is not None:
            self._append()
        if self._shard is not None and isinstance(exception, KeyboardInterrupt | SIGTERMException):
            named = "" if self._output is None else f" with output={self._output}"
            print(f"interrupted; the same command{named} resumes from what is in {self._folder}", file=sys.stderr)
        self._close()

    def _append(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            assert self._shard is not None
            for image in waiting.result():
                self._shard.write(image)

    def _close(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None


def _paste_and_encode(batch: RefinementBatch, paste: RefinedImages) -> list[RefinedImage]:
    images = [encode_image(before.image, after) for before, after in zip(batch.images, paste(), strict=True)]
    return images + [RefinedImage(bad.image_id, {}, 0, 0, fault=bad.fault) for bad in batch.bad]
