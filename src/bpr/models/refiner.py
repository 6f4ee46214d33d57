"""The Lightning module: trains a patch segmenter, and predicts patches with it."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bpr.data.batches import PatchBatch, RefinementBatch
from bpr.models.backends import Predict, best_patches_per_forward, make_predict
from bpr.models.losses import patch_cross_entropy
from bpr.models.metrics import PatchMetrics
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import load_segmenter
from bpr.structures import Backend, SettingError

# Lightning 2.6 asks torch 2.14 in a way that it announces to drop; nothing that a user of either could mend.
warnings.filterwarnings("ignore", message=r"`?isinstance\(treespec, LeafSpec\)", category=Warning)


class RefinedPatches(NamedTuple):
    """What the network makes of a `RefinementBatch`: (n, s, s) float32 in [0, 1], and the seconds it took."""

    probabilities: Tensor
    seconds: float


class PatchRefiner(pl.LightningModule):
    """Trains and applies a `PatchSegmenter`.

    Logs ``train/loss`` and, on validation patches, ``val/iou``, ``val/accuracy``, ``val/boundary_f`` beside the
    same figures of the coarse masks (``val/coarse_iou``, ...) and ``val/loss``. Checkpoints hold primitives
    and tensors only, and the configuration that rebuilds the network.

    Args:
        segmenter: The network, or its `PatchSegmenter.config`, as `load_from_checkpoint` finds it in a checkpoint.
        optimizer: Makes the optimizer from the parameters; None if the module only predicts.
        scheduler: Makes a scheduler that is stepped after every batch; None keeps the learning rate.
        patches_per_forward: In prediction, the network sees at most so many patches at a time; by default as many as
            suit the device.
        backend: How the network is run in prediction.
        cache: Folder for what a backend keeps; by default one in the user's cache.
    """

    def __init__(
        self,
        segmenter: PatchSegmenter | Mapping[str, Any],
        optimizer: Callable[[Iterable[Parameter]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        patches_per_forward: int | None = None,
        backend: Backend = Backend.eager,
        cache: Path | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(segmenter, PatchSegmenter):
            segmenter = PatchSegmenter(**segmenter)
        self.segmenter = segmenter.train().to(memory_format=torch.channels_last)
        self._optimizer, self._scheduler = optimizer, scheduler
        self.patches_per_forward = patches_per_forward
        self._backend, self._cache = backend, cache
        self._predict: Predict | None = None
        self._refined, self._coarse = PatchMetrics(), PatchMetrics()
        self.save_hyperparameters({"segmenter": segmenter.config})

    def forward(self, images: Tensor, coarse: Tensor) -> Tensor:
        """Logits (n, 2, S, S) of (n, 3, s, s) uint8 images and (n, s, s) bool masks; see `PatchSegmenter`."""
        logits: Tensor = self.segmenter(images, coarse)
        return logits

    def training_step(self, batch: PatchBatch, batch_idx: int) -> Tensor:
        """Two-class cross-entropy (paper, section 3.3)."""
        loss = patch_cross_entropy(self(batch.images, batch.coarse), batch.truth)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: PatchBatch, batch_idx: int) -> None:
        """Compare the refined and the coarse patches with the ground truth."""
        loss = patch_cross_entropy(self(batch.images, batch.coarse), batch.truth)
        self.log("val/loss", loss, batch_size=len(batch), sync_dist=True)
        self._refined.update(self.segmenter.foreground_probability(batch.images, batch.coarse) > 0.5, batch.truth)
        self._coarse.update(batch.coarse, batch.truth)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the whole validation set."""
        for prefix, metrics in (("val/", self._refined), ("val/coarse_", self._coarse)):
            self.log_dict({prefix + name: value for name, value in metrics.compute().items()}, prog_bar=True)
            metrics.reset()

    def on_predict_start(self) -> None:
        """Forget how the network was run before: weights or device may have changed."""
        self._predict = None

    def predict_step(self, batch: RefinementBatch, batch_idx: int) -> RefinedPatches:
        """Foreground probability of every patch of a batch of images."""
        start = perf_counter()
        most = self.patches_per_forward or best_patches_per_forward(self.device, self._backend)
        parts = zip(torch.split(batch.images, most), torch.split(batch.coarse, most), strict=True)
        probabilities = torch.cat([self.predict_patches(*part) for part in parts])
        return RefinedPatches(probabilities.cpu(), perf_counter() - start)

    def predict_patches(self, images: Tensor, coarse: Tensor) -> Tensor:
        """Foreground probability by the chosen backend, which is prepared when the first patches come.

        Args:
            images: (n, 3, s, s) uint8.
            coarse: (n, s, s) bool.

        Returns:
            (n, s, s) float32 in [0, 1].
        """
        if len(images) == 0:
            return self.segmenter.foreground_probability(images, coarse)
        if self._predict is None:
            side = images.shape[-1]
            self._predict = make_predict(self.segmenter, self._backend, side, self._cache, self.device)
        return self._predict(images, coarse)

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        """The optimizer, and the scheduler with the step as its unit."""
        if self._optimizer is None:
            raise ValueError("this PatchRefiner was made without an optimizer: it can predict, not train")
        try:
            optimizer = self._optimizer(self.parameters())
            scheduler = None if self._scheduler is None else self._scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, SettingError) else SettingError(f"optim: {error}") from error
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def load_refiner(
    path: str | Path,
    input_size: int | None = None,
    patches_per_forward: int | None = None,
    backend: Backend = Backend.eager,
    cache: Path | None = None,
) -> PatchRefiner:
    """Read a checkpoint of this project, its exported weights, or the paper authors' released ``.pth``.

    Args:
        path: The file; it is read with ``weights_only=True``, so it cannot run code.
        input_size: Side the network resizes patches to, px; by default what the checkpoint was trained with.
        patches_per_forward: The network sees at most so many patches at a time; None: as many as suit the device.
        backend: How the network is run.
        cache: Folder for what a backend keeps.

    Returns:
        The module in eval mode.

    Raises:
        bpr.models.weights.CheckpointError: If the file is missing or has another layout.
    """
    segmenter = load_segmenter(path, input_size)
    return PatchRefiner(segmenter, None, None, patches_per_forward, backend, cache).eval()
