import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from bpr.data.batches import PatchBatch
from bpr.models.refiner import PatchRefiner
from bpr.models.segmenter import PatchSegmenter


@pytest.fixture
def trained(tmp_path):
    """A checkpoint after one step, and the module."""
    masks = torch.ones(2, 32, 32, dtype=torch.bool)
    batch = PatchBatch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), masks, masks)
    refiner = PatchRefiner(
        PatchSegmenter("hrnet_w18_small", input_size=32), lambda parameters: torch.optim.SGD(parameters, 0.01)
    )
    trainer = pl.Trainer(
        max_steps=1, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(refiner, DataLoader([batch], batch_size=None))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt", refiner


def test_lightnings_own_way_loads_a_checkpoint(trained):
    path, refiner = trained
    loaded = PatchRefiner.load_from_checkpoint(path, weights_only=True)
    assert loaded.segmenter.config == refiner.segmenter.config
    for name, value in refiner.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)


def test_a_module_made_to_predict_does_not_train():
    with pytest.raises(ValueError, match="without an optimizer"):
        PatchRefiner(PatchSegmenter("hrnet_w18_small", input_size=32)).configure_optimizers()
