"""Lightning's end of refinement: encode the refined masks and append them to the shard of this process."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter

from bpr import rle
from bpr.cli.signals import raise_at_signals
from bpr.data.batches import RefinementBatch
from bpr.models.refiner import RefinedImages
from bpr.patches.engine import ImageMasks
from bpr.refine.digest import image_state
from bpr.refine.shards import RefinedImage, ShardWriter


def encode_image(coarse: ImageMasks, refined: ImageMasks) -> RefinedImage:
    """What a shard keeps of one image; refined masks with a ``reason`` stay as they came."""
    masks = {m.position: rle.encode(m.mask, m.window, refined.size) for m in refined.masks if m.reason is None}
    pairs = zip(coarse.masks, refined.masks, strict=True)
    changed = sum(not new.equals(old) for old, new in pairs if new.reason is None)
    skipped = Counter(m.reason for m in refined.masks if m.reason is not None)
    return RefinedImage(refined.image_id, masks, changed, sum(m.patches for m in refined.masks), dict(skipped))


class RefinementWriter(BasePredictionWriter):
    """Writes every batch to the shards of a run while the network sees the next one: nothing piles up in memory.

    A thread does that, in which no signal is handled: no line of a shard is ever cut off by Ctrl-C.

    Args:
        folder: Of the shards.
        digest: Of the run, see `bpr.refine.digest`.
        paths: Files of the images, by image id.
    """

    def __init__(self, folder: Path, digest: str, paths: Mapping[int | str, Path] | None = None) -> None:
        super().__init__(write_interval="batch")
        self._paths = paths or {}
        self._folder, self._digest = folder, digest
        self._shard: ShardWriter | None = None
        self._waiting: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "bpr-paste")

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the shard of this process."""
        raise_at_signals()
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
        """Have the images of a batch pasted, encoded and appended in a thread, once those of the batch before are."""
        assert isinstance(batch, RefinementBatch)
        assert self._shard is not None
        self._wait()
        self._waiting = self._thread.submit(self._append, self._shard, batch, prediction)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for what is left, and close the shard."""
        self._wait()
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Wait for what is being appended, and close the shard; what is in it counts when the run is repeated."""
        self._close()

    def _wait(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.result()

    def _close(self) -> None:
        self._thread.shutdown()
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _append(self, shard: ShardWriter, batch: RefinementBatch, paste: RefinedImages) -> None:
        images = [encode_image(before.image, after) for before, after in zip(batch.images, paste(), strict=True)]
        images += [RefinedImage(bad.image_id, {}, 0, 0, fault=bad.fault) for bad in batch.bad]
        for image in images:
            path = self._paths.get(image.image_id)
            shard.write(image if path is None else replace(image, state=image_state(path)))
