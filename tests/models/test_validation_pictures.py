import builtins
import csv

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from torch.utils.data import DataLoader

from bpr.data.batches import PatchBatch
from bpr.drawing import COLOURS
from bpr.models.curves import write_curves
from bpr.models.refiner import PatchRefiner
from bpr.models.segmenter import PatchSegmenter
from bpr.models.validation_pictures import (
    BAR,
    SIDE,
    ShownPatch,
    ValidationPictures,
    chosen_rows,
    draw_sheet,
    draw_strip,
)


def batches(count, length=4):
    """Patches whose grey value says which they are."""
    made = []
    for batch in range(count):
        value = torch.arange(length, dtype=torch.uint8) + batch * length
        images = value[:, None, None, None].expand(length, 3, 32, 32).clone()
        masks = torch.zeros(length, 32, 32, dtype=torch.bool)
        masks[:, 8:24, 8:24] = True
        made.append(PatchBatch(images, masks, masks.clone()))
    return made


class Recorder(WandbLogger):
    """W&B's logger as far as it is used here, without W&B."""

    def __init__(self):
        self.logged = []

    name = version = save_dir = "none"

    def log_image(self, key, images, step=None, **more):
        self.logged.append((key, images, step))

    def log_metrics(self, metrics, step=None):
        pass

    log_hyperparams = log_graph = after_save_checkpoint = finalize = lambda self, *args, **more: None


def fit(folder, loggers, pictures, validation=3, **trainer):
    torch.manual_seed(0)
    refiner = PatchRefiner(
        PatchSegmenter("hrnet_w18_small", input_size=32), lambda parameters: torch.optim.SGD(parameters, 0.01)
    )
    settings = {"max_steps": 4, "val_check_interval": 2, "num_sanity_val_steps": 0, **trainer}
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, callbacks=pictures, logger=loggers, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, enable_checkpointing=False, log_every_n_steps=1,
        check_val_every_n_epoch=None, **settings,
    )  # fmt: skip
    trainer.fit(refiner, DataLoader(batches(2), batch_size=None), DataLoader(batches(validation), batch_size=None))
    return refiner, torch.random.get_rng_state()


@pytest.mark.parametrize(("number", "of_batch"), [(64, 4), (16, 8), (5, 16), (3, 4), (1, 3)])
def test_the_chosen_patches_are_spread_evenly_over_all_batches(number, of_batch):
    places = [
        batch * of_batch + row for batch in range(number) for row in chosen_rows(16, number, batch, of_batch)
    ]  # fmt: skip
    total = number * of_batch
    assert len(set(places)) == len(places) == min(16, total)
    assert places == sorted(places)
    assert max(np.diff([0, *places, total - 1])) <= -(-total // 16)


def test_a_png_is_written_at_each_validation_beside_the_figures(tmp_path):
    fit(tmp_path, CSVLogger(tmp_path, name="csv", version=""), ValidationPictures(6))
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("step*.png"))
    assert found == ["csv/pictures/step000002.png", "csv/pictures/step000004.png"]
    with Image.open(tmp_path / "csv" / "pictures" / "step000004.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    grey = [int(pixels[row * (BAR + SIDE + 8) + BAR + 2, column * (4 * SIDE + 20) + 2, 0])
            for row in range(3) for column in range(2)]  # fmt: skip
    assert grey == [1, 3, 5, 7, 9, 11]


def test_wandb_gets_the_same_patches_as_images_and_the_refined_ones_are_the_networks(tmp_path):
    recorder = Recorder()
    refiner, _ = fit(tmp_path, recorder, ValidationPictures(3))
    assert [(key, len(images), step) for key, images, step in recorder.logged] == [
        ("val/patches", 3, 2),
        ("val/patches", 3, 4),
    ]
    shown = PatchBatch(
        *(
            torch.stack([t[2] for t in of])
            for of in zip(*[(b.images, b.coarse, b.truth) for b in batches(3)], strict=True)
        )
    )
    with torch.no_grad():
        refined = refiner.eval().segmenter.foreground_probability(shown.images, shown.coarse) > 0.5
    patches = zip(shown.images.permute(0, 2, 3, 1).numpy(), shown.coarse.numpy(), refined.numpy(), shown.truth.numpy(),
                  strict=True)  # fmt: skip
    for patch, image in zip(patches, recorder.logged[-1][1], strict=True):
        assert np.array_equal(np.asarray(draw_strip(ShownPatch(*patch))), np.asarray(image))


@pytest.mark.parametrize("average_first", [True, False])
def test_the_moving_average_is_shown_where_there_is_one(tmp_path, monkeypatch, average_first):
    seen, average, pictures = [], pl.callbacks.EMAWeightAveraging(), ValidationPictures(3)
    swap, see = average._swap_models, PatchSegmenter.foreground_probability
    monkeypatch.setattr(average, "_swap_models", lambda module: seen.append("swap") or swap(module))
    monkeypatch.setattr(
        PatchSegmenter, "foreground_probability", lambda *given: seen.append(len(given[1])) or see(*given)
    )
    fit(tmp_path, Recorder(), [average, pictures] if average_first else [pictures, average], max_steps=2)
    assert seen == ["swap", 4, 4, 4, 3, "swap"]  # three batches and the patches that are shown


@pytest.mark.parametrize(("sanity", "steps"), [(-1, [0, 2]), (2, [2])])
def test_a_check_counts_as_a_validation_only_if_it_is_of_everything(tmp_path, sanity, steps):
    recorder = Recorder()
    fit(tmp_path, recorder, ValidationPictures(3), num_sanity_val_steps=sanity, max_steps=2)
    assert [step for _, _, step in recorder.logged] == steps


def test_pictures_change_nothing_of_the_training(tmp_path):
    logger = CSVLogger(tmp_path, name="csv", version="")
    (with_them, state), (without, other) = fit(tmp_path, logger, ValidationPictures()), fit(tmp_path, False, [])
    assert torch.equal(state, other)
    assert with_them.training == without.training
    for (name, value), expected in zip(with_them.state_dict().items(), without.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=name)


def test_files_that_are_not_ours_are_left_alone_and_ours_are_replaced(tmp_path, recwarn):
    theirs = tmp_path / "csv" / "pictures" / "step000002.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"a picture of theirs")
    for _ in range(2):
        fit(tmp_path, CSVLogger(tmp_path, name="csv", version=""), ValidationPictures())
    assert theirs.read_bytes() == b"a picture of theirs"
    said = [str(warning.message) for warning in recwarn if "not written by bpr" in str(warning.message)]
    assert {line.split()[0] for line in said} == {str(theirs)}


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "is_global_zero", property(lambda self: False))
    fit(tmp_path, CSVLogger(tmp_path, name="csv", version=""), ValidationPictures())
    assert not list(tmp_path.rglob("*.png"))


def test_without_matplotlib_the_plot_is_left_out_in_one_line(tmp_path, monkeypatch, capsys):
    original = builtins.__import__

    def missing(name, *args, **more):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return original(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    fit(tmp_path, CSVLogger(tmp_path, name="csv", version=""), ValidationPictures())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "curves" in line]
    assert "pip install -e '.[plots]'" in line
    assert not (tmp_path / "csv" / "curves.png").exists()


def test_the_curves_are_written_at_the_end_and_said(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    fit(tmp_path, CSVLogger(tmp_path, name="csv", version=""), ValidationPictures())
    assert (tmp_path / "csv" / "curves.png").is_file()
    assert f"curves: {tmp_path / 'csv' / 'curves.png'}" in capsys.readouterr().out


def test_curves_are_plotted_from_what_was_logged(tmp_path):
    pytest.importorskip("matplotlib")
    columns = ["step", "train/loss", "val/loss", "val/iou", "val/coarse_iou"]

    def drawn(*rows):
        with (tmp_path / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        if not write_curves(tmp_path / "metrics.csv", tmp_path / "curves.png"):
            return 0
        with Image.open(tmp_path / "curves.png") as picture:
            return picture.width

    assert drawn() == 0
    one, two = drawn([1, 0.5, "", "", ""]), drawn([1, 0.5, "", "", ""], [1, "", 0.4, 0.8, 0.7])
    assert two == 2 * one > 0


def test_a_strip_has_the_outlines_in_their_places():
    truth = np.zeros((64, 64), np.bool_)
    truth[16:48, 16:48] = True
    strip = draw_strip(ShownPatch(np.full((64, 64, 3), 90, np.uint8), truth, np.zeros_like(truth), truth))
    pixels = np.asarray(strip)[BAR:]
    found = [
        {name for name, colour in COLOURS.items() if (pixels[:, x : x + SIDE] == colour).all(axis=2).any()}
        for x in range(0, 4 * (SIDE + 4), SIDE + 4)
    ]
    assert found == [set(), {"coarse"}, set(), {"ground truth"}]


def test_a_sheet_of_one_strip_is_that_strip():
    strip = Image.new("RGB", (20, 10), (1, 2, 3))
    assert draw_sheet([strip]).size == strip.size
    assert draw_sheet([strip] * 3).size == (48, 28)


def test_no_patches_are_refused():
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        ValidationPictures(0)
