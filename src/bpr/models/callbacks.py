"""Callbacks of a training: checkpoints, and the scores that it brought."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from bpr.cli.signals import raise_at_signals, say
from bpr.config.next_command import command, same_command
from bpr.models.checkpoints import continue_figures, keep_figures
from bpr.structures import PatchSpec

_FIGURES = ("iou", "boundary_f", "accuracy")


class StepCheckpoint(ModelCheckpoint):
    """Saves the newest state every so many steps and at the last step, however the training ends.

    A training that is resumed from a checkpoint logs what one that was never interrupted does: see
    `bpr.models.checkpoints`. Where a step is validated, its checkpoint comes after the validation, as Lightning resumes
    behind it. In the folder of the checkpoint, those that come after it are replaced.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where due; before `on_train_end`, in which a moving average would replace the weights."""
        fit = trainer.fit_loop
        if not fit.epoch_loop._should_check_val_fx(fit._data_fetcher):  # type: ignore[arg-type]
            self._save_where_due(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where due."""
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            self._save_where_due(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where a callback stops the training now."""
        super().on_train_epoch_end(trainer, pl_module)
        self._save_at_end(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note which figures come before it."""
        keep_figures(trainer, checkpoint)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the figures that come before it."""
        continue_figures(trainer, checkpoint)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what is known of the checkpoints in this folder, if the resumed one is there."""
        super().load_state_dict(state_dict)
        self._enable_version_counter = self.dirpath != state_dict.get("dirpath")

    def _save_where_due(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_batch_end(trainer, pl_module, None, None, 0)
        self._save_at_end(trainer)

    def _save_at_end(self, trainer: pl.Trainer) -> None:
        if _ends(trainer) and self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


def _ends(trainer: pl.Trainer) -> bool:
    """Whether a training ends at this step: its last one, the last of its epochs, or one at which a callback stops."""
    fit = trainer.fit_loop
    last_of_epochs = fit.epoch_loop.batch_progress.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.global_step == trainer.max_steps or last_of_epochs or (trainer.should_stop and fit._can_stop_early)


@dataclass(frozen=True, slots=True)
class ValidationFigures:
    """Shares in [0, 1] on the validation patches, by name (``iou``, ...), after ``step`` optimizer steps."""

    step: int
    coarse: dict[str, float]
    refined: dict[str, float]


class TrainingSummary(pl.Callback):
    """Prints, when a training ends, its first and last validation, the coarse masks', and where the checkpoint is.

    A check of all validation batches before the first step (``trainer.num_sanity_val_steps=-1``) counts as
    validation at that step.

    Args:
        patch_size: Side of the patches, image px, which refinement has to be told where it is not its default.
    """

    def __init__(self, patch_size: int = PatchSpec().size) -> None:
        self._patch = [] if patch_size == PatchSpec().size else [f"patch.size={patch_size}"]
        self._first: ValidationFigures | None = None
        self._last: ValidationFigures | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the figures; those of a check on a part of the batches are not kept."""
        if is_partial_check(trainer):
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if any(f"val/{prefix}{name}" not in metrics for name in _FIGURES for prefix in ("", "coarse_")):
            return
        coarse = {name: metrics[f"val/coarse_{name}"] for name in _FIGURES}
        refined = {name: metrics[f"val/{name}"] for name in _FIGURES}
        self._last = ValidationFigures(trainer.global_step, coarse, refined)
        self._first = self._first or self._last

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let SIGTERM end the training as Ctrl-C does."""
        raise_at_signals()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say, in one process, with which command a training goes on that was interrupted or failed."""
        if not trainer.is_global_zero or trainer.global_step == 0:
            return
        interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        stopped = f"{'interrupted' if interrupted else 'stopped'} at step {trainer.global_step}"
        if path := _checkpoint(trainer) or trainer.ckpt_path:
            say(f"{stopped}: {same_command('train.py', ckpt=str(path))} resumes")
        else:
            say(f"{stopped}: no checkpoint was saved yet; lower callbacks.checkpoint.every_n_train_steps")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print, in one process."""
        if not trainer.is_global_zero:
            return
        if self._first and self._last:
            print(format_figures(self._first, self._last))
        if checkpoint := _checkpoint(trainer):
            print(f"checkpoint: {checkpoint}")
            settings = [f"ckpt={checkpoint}", *self._patch]
            print(f"refine with it: {command('refine.py', *settings)} [images=DIR predictions=FILE]")


def is_partial_check(trainer: pl.Trainer) -> bool:
    """Whether this is no validation but a check of some of its batches before the first step."""
    return trainer.sanity_checking and trainer.num_sanity_val_steps != float("inf")


def _checkpoint(trainer: pl.Trainer) -> str:
    """Path of the last checkpoint that is there, or an empty string."""
    known = (getattr(trainer.checkpoint_callback, name, "") for name in ("last_model_path", "best_model_path"))
    return next((str(path) for path in known if path and Path(path).is_file()), "")


def format_figures(first: ValidationFigures, last: ValidationFigures) -> str:
    """A table for people: coarse masks, first and last validation (one row if they are the same), in percent."""
    rows = [("coarse masks", last.coarse), (f"step {first.step}", first.refined)]
    if last.step != first.step:
        rows.append((f"step {last.step}", last.refined))
    lines = ["validation patches   " + "".join(f"{name:>12}" for name in _FIGURES)]
    lines += [f"  {title:<19}" + "".join(f"{100 * values[name]:12.2f}" for name in _FIGURES) for title, values in rows]
    return "\n".join(lines)
