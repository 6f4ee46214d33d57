from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from bpr.models.callbacks import StepCheckpoint, TrainingSummary, ValidationFigures, format_figures


def trainer_at(step, iou, **attributes):
    metrics = {f"val/{name}": torch.tensor(iou) for name in ("iou", "boundary_f", "accuracy")}
    metrics |= {f"val/coarse_{name}": torch.tensor(0.5) for name in ("iou", "boundary_f", "accuracy")}
    state = {"global_step": step, "callback_metrics": metrics, "sanity_checking": False, "is_global_zero": True}
    return SimpleNamespace(**{**state, "num_sanity_val_steps": 0, "checkpoint_callback": None, **attributes})


def printed(capsys, *trainers):
    summary = TrainingSummary()
    for trainer in trainers:
        summary.on_validation_end(trainer, None)
    summary.on_fit_end(trainers[-1], None)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Two checkpoints are there, by their relative names."""
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a" / "last.ckpt", tmp_path / "a b" / "last.ckpt", tmp_path / "a" / "step3.ckpt"):
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_the_first_and_the_last_validation_are_printed_below_the_coarse_masks(capsys):
    lines = printed(capsys, trainer_at(0, 0.6), trainer_at(10, 0.4), trainer_at(20, 0.7))
    assert lines[1:] == [
        ["coarse", "masks", *["50.00"] * 3],
        ["step", "0", *["60.00"] * 3],
        ["step", "20", *["70.00"] * 3],
    ]


def test_a_check_of_some_batches_is_no_validation_but_one_of_all_is(capsys):
    some = trainer_at(0, 0.1, sanity_checking=True, num_sanity_val_steps=2)
    every = trainer_at(0, 0.2, sanity_checking=True, num_sanity_val_steps=float("inf"))
    assert ["step", "0", *["10.00"] * 3] not in printed(capsys, some, trainer_at(5, 0.3))
    assert ["step", "0", *["20.00"] * 3] in printed(capsys, every, trainer_at(5, 0.3))


def test_the_checkpoint_and_the_command_that_uses_it_are_printed(capsys, in_folder):
    summary = TrainingSummary()
    summary.on_fit_end(trainer_at(5, 0.3, checkpoint_callback=SimpleNamespace(last_model_path="a/last.ckpt")), None)
    refine = "refine with it: bpr refine ckpt=a/last.ckpt [images=DIR predictions=FILE]"
    assert capsys.readouterr().out.splitlines() == ["checkpoint: a/last.ckpt", refine]


def test_the_side_of_the_patches_is_told_where_refinement_would_take_another(capsys, in_folder):
    for side in (64, 96):
        saved = SimpleNamespace(last_model_path="a/last.ckpt")
        TrainingSummary(side).on_fit_end(trainer_at(5, 0.3, checkpoint_callback=saved), None)
    assert ["patch.size" in line for line in capsys.readouterr().out.splitlines()] == [False, False, False, True]


@pytest.mark.parametrize("missing", [{"is_global_zero": False}, {"callback_metrics": {}}])
def test_other_processes_and_trainings_without_validation_print_nothing(capsys, missing):
    assert printed(capsys, trainer_at(1, 0.5, **missing)) == []


def test_a_single_validation_is_one_row():
    figures = ValidationFigures(
        3, {"iou": 0, "boundary_f": 0, "accuracy": 0}, {"iou": 1, "boundary_f": 1, "accuracy": 1}
    )
    assert len(format_figures(figures, figures).splitlines()) == 3


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        (
            {"checkpoint_callback": SimpleNamespace(last_model_path="a b/last.ckpt")},
            "interrupted at step 5: bpr train 'data.train=[{a: b}]' seed=1 'ckpt=a b/last.ckpt' resumes\n",
        ),
        (
            {"checkpoint_callback": SimpleNamespace(last_model_path="not/yet.ckpt", best_model_path="a/step3.ckpt")},
            "interrupted at step 5: bpr train 'data.train=[{a: b}]' seed=1 ckpt=a/step3.ckpt resumes\n",
        ),
        (
            {"ckpt_path": "old"},
            "interrupted at step 5: bpr train 'data.train=[{a: b}]' seed=1 ckpt=old resumes\n",
        ),
        ({}, "interrupted at step 5: no checkpoint was saved yet; lower callbacks.checkpoint.every_n_train_steps\n"),
        ({"is_global_zero": False}, ""),
        ({"global_step": 0}, ""),
    ],
)
def test_an_interrupted_training_says_in_one_process_which_command_resumes_it(
    capsys, monkeypatch, in_folder, attributes, said
):
    of_run = {"overrides": {"hydra": [], "task": ["data.train=[{a: b}]", "ckpt=old", "seed=1"]}}
    conf = {"provider": "main", "schema": "file", "path": str(Path(__file__).parents[2] / "conf")}
    of_run |= {"runtime": {"config_sources": [conf], "cwd": str(Path.cwd())}}
    given = OmegaConf.create({"hydra": {**of_run, "job": {"config_name": "train"}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", given)
    TrainingSummary().on_exception(trainer_at(5, 0.3, **{"ckpt_path": None, **attributes}), None, KeyboardInterrupt())
    assert capsys.readouterr() == ("", said)


def test_a_training_that_failed_can_be_resumed_too(capsys, monkeypatch, in_folder):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as it is without Hydra
    TrainingSummary().on_exception(trainer_at(5, 0.3, ckpt_path="old"), None, RuntimeError("out of memory"))
    assert capsys.readouterr().err == "stopped at step 5: bpr train ckpt=old resumes\n"


class StopAtEight(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= 8


class StopAfterTwelve(pl.Callback):
    def on_train_epoch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= 12


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({"max_steps": 7}, 7),
        ({"max_epochs": 2}, 12),
        ({"max_epochs": 2, "limit_train_batches": 4}, 8),
        ({"max_epochs": 5, "accumulate_grad_batches": 4}, 10),
        ({"max_epochs": 4, "accumulate_grad_batches": 4}, 8),
        ({"max_epochs": 9, "callbacks": [StopAtEight()]}, 8),
        ({"max_epochs": 9, "min_epochs": 2, "callbacks": [StopAtEight()]}, 12),
        ({"max_epochs": 9, "callbacks": [StopAfterTwelve()]}, 12),
    ],
)
def test_the_last_step_is_saved_however_a_training_ends(tmp_path, options, last, validates):
    class Line(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(1, 1)

        def training_step(self, batch, _):
            return self.line(batch[0]).sum()

        def validation_step(self, batch, _):
            """Nothing."""

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(6, 1)))
    saving = StepCheckpoint(tmp_path, "step{step}", every_n_train_steps=5, save_top_k=1, save_last=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    callbacks = [*options.get("callbacks", ()), saving]
    module = Line()
    pl.Trainer(**{**quiet, **options, "callbacks": callbacks}).fit(module, batches, batches if validates else None)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == last
    assert torch.equal(state["state_dict"]["line.weight"], module.line.weight)
