"""Checkpoints and figures of a training that no interruption leaves half written, and that a resumed one continues."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytorch_lightning as pl
import torch
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_warn

from bpr.formats.files import replacing, room_for, sweep

_KEY: Final = "bpr_figures"
"""Of a checkpoint: where the figures are that were logged until then."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place, then renames them; Lightning begins in the system's temporary folder."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a file, and sweep what a killed process left of it. `bpr.formats.files.FullDiskError` without room."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        sweep(Path(path))
        with replacing(Path(path)) as unfinished:
            unfinished.write_bytes(content.getbuffer())


class FiguresLogger(CSVLogger):
    """Lightning's ``metrics.csv``, which a resumed training continues, in whatever folder: see `keep_figures`."""

    @property
    @rank_zero_experiment
    def experiment(self) -> "FiguresFile":
        """What writes the file."""
        if not isinstance(self._experiment, FiguresFile):
            self._experiment = FiguresFile(self.log_dir)
        return self._experiment


class FiguresFile(ExperimentWriter):
    """Appends rows to ``metrics.csv``; a file of an earlier training is replaced with the first of them.

    Attributes:
        rows: That were logged.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.rows, self._begun = 0, False
        self.path = Path(self.metrics_file_path)
        sweep(self.path.parent)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Keep a row."""
        super().log_metrics(metrics_dict, step)
        self.rows += 1

    def save(self) -> None:
        """Write what was kept. `bpr.formats.files.FullDiskError` if there is no room."""
        if self._begun:
            with room_for(self.path):
                super().save()
        elif self.metrics:
            self._record_new_keys()
            self._write(self.metrics, self.metrics_keys)
            self.metrics = []

    def begin_with(self, source: Path, rows: int) -> bool:
        """Write the first rows of the file of an interrupted training; whether they are there."""
        if not source.is_file():
            return False
        names, kept = _read(source)
        kept = kept[:rows]
        self.rows, self.metrics_keys = len(kept), list(names)
        self._write(kept, names)
        return len(kept) == rows

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(_read(self.path)[1], fieldnames)

    def _write(self, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> None:
        with replacing(self.path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        self._begun = True

    def _check_log_dir_exists(self) -> None:
        """Nothing is removed before there is something to replace it."""


def keep_figures(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Note in a checkpoint which rows of ``metrics.csv`` come before it.

    Lightning logs the row of a step after the checkpoint of that step is saved, so that row goes into the checkpoint;
    not where it is saved after a validation.
    """
    for logger in _loggers(trainer):
        logger.save()
        written, row = logger.experiment, dict[str, float]()
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and not trainer.validating and trainer.global_step % every == 0:
            found = trainer.callback_metrics.items()
            row = {name: float(value) for name, value in found if name.startswith("train/")}
            row["epoch"] = trainer.current_epoch
        checkpoint[_KEY] = {"path": str(written.path.resolve()), "rows": written.rows, "row": row}


def continue_figures(trainer: pl.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Begin ``metrics.csv`` with the rows that came before a checkpoint; warns if their file is gone."""
    kept: Mapping[str, Any] = checkpoint.get(_KEY) or {}
    for logger in _loggers(trainer) if kept else ():
        if not logger.experiment.begin_with(Path(kept["path"]), kept["rows"]):
            rank_zero_warn(f"{kept['path']} has not all rows before step {checkpoint['global_step']} any more")
        if kept["row"]:
            logger.log_metrics(kept["row"], checkpoint["global_step"] - 1)


def _loggers(trainer: pl.Trainer) -> list[FiguresLogger]:
    return [logger for logger in trainer.loggers if trainer.is_global_zero and isinstance(logger, FiguresLogger)]


def _read(path: Path) -> tuple[Sequence[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    return reader.fieldnames or (), rows
