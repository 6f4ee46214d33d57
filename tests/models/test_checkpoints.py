import errno
import io
import os
from types import SimpleNamespace

import pytest
import torch

from bpr.formats.files import FullDiskError
from bpr.models.checkpoints import FiguresLogger, WholeCheckpoints, continue_figures, keep_figures


def logger_in(folder):
    return FiguresLogger(folder, name="", version="")


def trainer_at(step, *loggers, **attributes):
    state = {"global_step": step, "loggers": loggers, "is_global_zero": True, "validating": False, "current_epoch": 0}
    metrics = {"train/loss": torch.tensor(0.5), "val/loss": torch.tensor(0.25)}
    return SimpleNamespace(**{**state, "log_every_n_steps": 2, "callback_metrics": metrics, **attributes})


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one_and_is_told(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"a": 1}, path)
    left = tmp_path / f"last.ckpt.{'0' * 8}-{'0' * 32}.tmp"
    left.touch()
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
    with pytest.raises(FullDiskError, match=r"last\.ckpt: cannot be written \(No space, [\d.]+ MiB are free\)"):
        WholeCheckpoints().save_checkpoint({"a": 2}, path)
    assert torch.load(io.BytesIO(path.read_bytes()), weights_only=True) == {"a": 1}
    assert {entry.name for entry in tmp_path.iterdir()} == {"last.ckpt", left.name}


@pytest.mark.parametrize("same", [True, False])
def test_figures_go_on_where_the_checkpoint_was_and_new_columns_come_in_between(tmp_path, same):
    whole, first = logger_in(tmp_path / "whole"), logger_in(tmp_path / "first")
    checkpoint = {"global_step": 2}
    for logger in (whole, first):
        logger.log_metrics({"train/loss": 1.0, "epoch": 0}, 0)
        if logger is first:
            keep_figures(trainer_at(2, first), checkpoint)  # as Lightning does, before the row of its step
        logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 1)
        logger.save()
        logger.log_metrics({"val/loss": 0.25, "epoch": 0}, 1)
        logger.save()
    with (tmp_path / "first" / "metrics.csv").open("a") as file:
        file.write("0,0.1")  # killed
    resumed = logger_in(tmp_path / ("first" if same else "other"))
    continue_figures(trainer_at(0, resumed), checkpoint)
    resumed.log_metrics({"val/loss": 0.25, "epoch": 0}, 1)
    resumed.save()
    files = [tmp_path / "whole" / "metrics.csv", resumed.experiment.path]
    assert files[0].read_text() == files[1].read_text()


def test_after_a_validation_the_row_of_the_step_is_there_already(tmp_path):
    checkpoint = {}
    keep_figures(trainer_at(2, logger_in(tmp_path), validating=True), checkpoint)
    assert checkpoint["bpr_figures"]["row"] == {}


def test_a_logger_that_is_told_to_log_no_steps_has_no_row_to_keep(tmp_path):
    checkpoint = {}
    keep_figures(trainer_at(5, logger_in(tmp_path), log_every_n_steps=0), checkpoint)
    assert [kept["row"] for kept in checkpoint.values()] == [{}]


def test_figures_that_are_gone_are_missed(tmp_path):
    kept = {"path": str(tmp_path / "gone.csv"), "rows": 3, "row": {}}
    with pytest.warns(UserWarning, match=r"gone\.csv has not all rows before step 9"):
        continue_figures(trainer_at(0, logger_in(tmp_path)), {"global_step": 9, "bpr_figures": kept})


def test_a_new_training_in_an_old_folder_replaces_the_figures_when_it_has_some(tmp_path):
    old = logger_in(tmp_path)
    old.log_metrics({"a": 1.0}, 0)
    old.save()
    new = logger_in(tmp_path)
    new.save()
    assert new.experiment.path.read_text() == "a,step\n1.0,0\n"
    new.log_metrics({"b": 2.0}, 0)
    new.save()
    assert new.experiment.path.read_text() == "b,step\n2.0,0\n"
