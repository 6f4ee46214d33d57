import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from bpr.data.batches import PatchBatch
from bpr.models.callbacks import SmallInputFirst
from bpr.models.refiner import PatchRefiner
from bpr.models.segmenter import PatchSegmenter


class SizesSeen(pl.Callback):
    def __init__(self):
        self.sizes = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.sizes.append(pl_module.segmenter.input_size)


def fit(folder, steps, schedule, ckpt=None):
    batch = PatchBatch(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.ones(2, 32, 32) > 0, torch.ones(2, 32, 32) > 0
    )
    refiner = PatchRefiner(PatchSegmenter(input_size=64), lambda parameters: torch.optim.SGD(parameters, 0.01))
    seen = SizesSeen()
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", devices=1, callbacks=[schedule, seen], logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(refiner, DataLoader([batch] * 5, batch_size=None), ckpt_path=ckpt, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    return seen.sizes, refiner


def test_the_first_steps_see_the_small_input(tmp_path):
    sizes, refiner = fit(tmp_path, 4, SmallInputFirst(32, 3))
    assert sizes == [32, 32, 32, 64]
    assert refiner.segmenter.input_size == 64


def test_a_resumed_training_goes_on_at_its_step(tmp_path):
    _, refiner = fit(tmp_path, 2, SmallInputFirst(32, 3))
    assert refiner.segmenter.input_size == 64
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)["hyper_parameters"]["segmenter"]["input_size"]
    assert stored == 64
    sizes, _ = fit(tmp_path, 4, SmallInputFirst(32, 3), tmp_path / "last.ckpt")
    assert sizes == [32, 64]


@pytest.mark.parametrize(("size", "steps", "message"), [(48, 1, "multiple of 32"), (32, -1, "must not be negative")])
def test_impossible_schedules_are_refused(size, steps, message):
    with pytest.raises(ValueError, match=message):
        SmallInputFirst(size, steps)
