"""The Lightning module: trains a patch segmenter, and refines masks with it."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bpr.data.batches import PatchBatch, RefinementBatch
from bpr.models.backends import Start, as_network, best_patches_per_forward, check_backend, make_start
from bpr.models.losses import TRUST_SHARE, patch_cross_entropy, trust_loss
from bpr.models.metrics import PatchMetrics
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import change_trust, load_segmenter
from bpr.patches.engine import ImageMasks, Method, refine
from bpr.structures import Backend, Round, SettingError

# Lightning 2.6 asks torch 2.14 in a way that it announces to drop; nothing that a user of either could mend.
warnings.filterwarnings("ignore", message=r"`?isinstance\(treespec, LeafSpec\)", category=Warning)


RefinedImages: TypeAlias = Callable[[], Iterator[ImageMasks]]
"""The images of a batch with refined masks: waits for the network's last answers and pastes them."""


@dataclass(frozen=True, slots=True)
class Inference:
    """How a trained network is applied.

    Attributes:
        method: How masks are refined.
        patches_per_forward: The network sees at most so many patches at a time; by default as many as suit the device.
        backend: How the network is run.
        cache: Folder for what a backend keeps; by default one in the user's cache.
    """

    method: Method = field(default_factory=Method)
    patches_per_forward: int | None = None
    backend: Backend = Backend.eager
    cache: Path | None = None


class PatchRefiner(pl.LightningModule):
    """Trains and applies a `PatchSegmenter`.

    Logs ``train/loss`` and, on validation patches, ``val/iou``, ``val/accuracy``, ``val/boundary_f`` beside the
    same figures of the coarse masks (``val/coarse_iou``, ...) and ``val/loss``. Checkpoints hold primitives
    and tensors only, and the configuration that rebuilds the network.

    Args:
        segmenter: The network, or its `PatchSegmenter.config`, as `load_from_checkpoint` finds it in a checkpoint.
        optimizer: Makes the optimizer from the parameters; None if the module only predicts.
        scheduler: Makes a scheduler that is stepped after every batch; None keeps the learning rate.
        inference: How it is applied in prediction.
    """

    def __init__(
        self,
        segmenter: PatchSegmenter | Mapping[str, Any],
        optimizer: Callable[[Iterable[Parameter]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        inference: Inference | None = None,
    ) -> None:
        super().__init__()
        if isinstance(segmenter, Mapping):
            segmenter = PatchSegmenter(**segmenter)
        self.segmenter = segmenter.train().to(memory_format=torch.channels_last)
        self._optimizer, self._scheduler = optimizer, scheduler
        self.inference = inference or Inference()
        self._start: Start | None = None
        self._refined, self._coarse = PatchMetrics(), PatchMetrics()
        self.save_hyperparameters({"segmenter": segmenter.config})

    def training_step(self, batch: PatchBatch, batch_idx: int) -> Tensor:
        """Two-class cross-entropy (paper, section 3.3), and that of trust where the network has it."""
        loss = self._loss(batch, "train")
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.images))
        return loss

    def validation_step(self, batch: PatchBatch, batch_idx: int) -> None:
        """Compare the refined and the coarse patches with the ground truth."""
        self.log("val/loss", self._loss(batch, "val"), batch_size=len(batch.images), sync_dist=True)
        self._refined.update(self.segmenter.foreground_probability(batch.images, batch.coarse) > 0.5, batch.truth)
        self._coarse.update(batch.coarse, batch.truth)

    def _loss(self, batch: PatchBatch, split: str) -> Tensor:
        if not self.segmenter.trust:
            return patch_cross_entropy(self.segmenter(batch.images, batch.coarse), batch.truth)
        logits, trust = self.segmenter.logits_and_trust(batch.images, batch.coarse)
        doubt = trust_loss(trust, batch.coarse, batch.truth)
        self.log(f"{split}/trust_loss", doubt, batch_size=len(batch.images), sync_dist=split == "val")
        return patch_cross_entropy(logits, batch.truth) + TRUST_SHARE * doubt

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the whole validation set."""
        for prefix, metrics in (("val/", self._refined), ("val/coarse_", self._coarse)):
            self.log_dict({prefix + name: value for name, value in metrics.compute().items()}, prog_bar=True)
            metrics.reset()

    def on_predict_start(self) -> None:
        """Forget how the network was run before: weights or device may have changed. Check how it is run now."""
        check_backend(self.inference.backend, self.device)
        self._start = None

    def predict_step(self, batch: RefinementBatch, batch_idx: int) -> RefinedImages:
        """Refine the masks of a batch of images; what is returned pastes the last round."""
        how = self.inference
        most = how.patches_per_forward or best_patches_per_forward(self.device)
        return refine(batch.images, as_network(self.start_patches, self.device), how.method, most)

    def predict_patches(self, images: Tensor, coarse: Tensor) -> Tensor:
        """Foreground probability by the chosen backend.

        Args:
            images: (n, 3, s, s) uint8.
            coarse: (n, s, s) bool.

        Returns:
            (n, s, s) float32 in [0, 1], or with trust (n, 2, s, s), trust second.
        """
        return self.start_patches(images, coarse)()

    def start_patches(self, images: Tensor, coarse: Tensor) -> Callable[[], Tensor]:
        """As `predict_patches`, for an answer to be waited for; the backend is prepared when the first patches come."""
        if self._start is None:
            how = self.inference
            self._start = make_start(self.segmenter, how.backend, self.device, how.cache)
        return self._start(images, coarse)

    def new_optimizer(self) -> Optimizer:
        """An optimizer of all weights; `SettingError` if it refuses its settings."""
        if self._optimizer is None:
            raise ValueError("this PatchRefiner was made without an optimizer: it can predict, not train")
        try:
            return self._optimizer(self.parameters())
        except (TypeError, ValueError) as error:
            raise SettingError(f"optim: {error}") from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a resumed training have its own optimizer's settings, but those that need a state, or are scheduled."""
        if self._optimizer is None:
            return
        kept = {"params", "amsgrad", "centered", "momentum"} | ({"lr", "betas"} if self._scheduler else set())
        own = self.new_optimizer().param_groups
        for state in checkpoint.get("optimizer_states", ()):
            for saved, new in zip(state["param_groups"], own, strict=False):
                saved.update({name: value for name, value in new.items() if name in saved.keys() - kept})

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        """The optimizer, and the scheduler with the step as its unit."""
        optimizer = self.new_optimizer()
        try:
            scheduler = None if self._scheduler is None else self._scheduler(optimizer)
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, SettingError) else SettingError(f"optim: {error}") from error
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def load_refiner(
    path: str | Path,
    input_size: int | None = None,
    inference: Inference | None = None,
    trust: bool = True,
    rounds: tuple[Round, ...] | None = None,
) -> PatchRefiner:
    """Read a checkpoint of this project, its exported weights, or the paper authors' released ``.pth``.

    Args:
        path: The file; it is read with ``weights_only=True``, so it cannot run code.
        input_size: Side the network resizes patches to, px; by default what the checkpoint was trained with. The
            method of ``inference`` takes it over.
        inference: How the network is applied.
        trust: Whether masks are left alone where the network trusts them; without, its second output is left out.
        rounds: Which are run, in place of those of ``inference``; None: those that suit the weights.

    Returns:
        The module in eval mode.

    Raises:
        bpr.models.weights.CheckpointError: If the file is missing or has another layout.
    """
    segmenter, how = load_segmenter(path, input_size), inference or Inference()
    method = replace(how.method, input_size=segmenter.input_size, rounds=rounds or segmenter.rounds)
    segmenter = segmenter if trust else change_trust(segmenter, False)
    return PatchRefiner(segmenter, inference=replace(how, method=method)).eval()
