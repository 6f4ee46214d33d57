"""What a training brought: a callback that prints it."""

from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl

_FIGURES = ("iou", "boundary_f", "accuracy")


@dataclass(frozen=True, slots=True)
class ValidationFigures:
    """Shares in [0, 1] on the validation patches, by name (``iou``, ...), after ``step`` optimizer steps."""

    step: int
    coarse: dict[str, float]
    refined: dict[str, float]


class TrainingSummary(pl.Callback):
    """Prints, when a training ends, its first and last validation, the coarse masks', and where the weights are.

    A check of all validation batches before the first step (``trainer.num_sanity_val_steps=-1``) counts as
    validation at that step.
    """

    def __init__(self) -> None:
        self._first: ValidationFigures | None = None
        self._last: ValidationFigures | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the figures; those of a check on a part of the batches are not kept."""
        if trainer.sanity_checking and trainer.num_sanity_val_steps != float("inf"):
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if any(f"val/{prefix}{name}" not in metrics for name in _FIGURES for prefix in ("", "coarse_")):
            return
        coarse = {name: metrics[f"val/coarse_{name}"] for name in _FIGURES}
        refined = {name: metrics[f"val/{name}"] for name in _FIGURES}
        self._last = ValidationFigures(trainer.global_step, coarse, refined)
        self._first = self._first or self._last

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print, in one process."""
        if not trainer.is_global_zero:
            return
        if self._first and self._last:
            print(format_figures(self._first, self._last))
        checkpoint = getattr(trainer.checkpoint_callback, "last_model_path", "")
        if checkpoint:
            print(f"checkpoint: {checkpoint}")
            print(f"refine with it: python refine.py ckpt={Path(checkpoint)} [images=DIR predictions=FILE]")


def format_figures(first: ValidationFigures, last: ValidationFigures) -> str:
    """A table for people: coarse masks, first and last validation (one row if they are the same), in percent."""
    rows = [("coarse masks", last.coarse), (f"step {first.step}", first.refined)]
    if last.step != first.step:
        rows.append((f"step {last.step}", last.refined))
    lines = ["validation patches   " + "".join(f"{name:>12}" for name in _FIGURES)]
    lines += [f"  {title:<19}" + "".join(f"{100 * values[name]:12.2f}" for name in _FIGURES) for title, values in rows]
    return "\n".join(lines)
