import json

import albumentations
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from bpr.data.augmentation import PatchAugmentation
from bpr.data.datamodule import PatchDataModule
from bpr.data.settings import Source, TrainingData
from bpr.formats.errors import FormatError
from bpr.models.callbacks import StepCheckpoint
from bpr.structures import PatchSpec, SettingError

SPEC = PatchSpec(32, 0.25)


def source_of(toy, weight=None):
    return Source(toy.images, toy.annotations, [toy.predictions], weight)


def datamodule(toy, tmp_path, **options):
    augmentation = PatchAugmentation([albumentations.HorizontalFlip(p=0.5), albumentations.ColorJitter(p=1.0)])
    defaults = {"train": [source_of(toy)], "val": [source_of(toy)], "batch_size": 8, "patches_per_image": 2}
    data = TrainingData(**{**defaults, "cache": tmp_path / "cache", "num_workers": 0, **options})
    module = PatchDataModule(data, SPEC, augmentation)
    module.setup()
    return module


def batches(module, epoch=0):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [torch.cat([b.images.flatten(), b.coarse.flatten(), b.truth.flatten()]) for b in loader]


def equal(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def part_of(toy, name, image_ids):
    """A source with some of the images."""
    truth, coarse = (json.loads(path.read_text()) for path in (toy.annotations, toy.predictions))
    truth["images"] = [image for image in truth["images"] if image["id"] in image_ids]
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in image_ids]
    annotations, predictions = (toy.root / f"{name}_{kind}.json" for kind in ("instances", "coarse"))
    annotations.write_text(json.dumps(truth))
    predictions.write_text(json.dumps([entry for entry in coarse if entry["image_id"] in image_ids]))
    return {"images": toy.images, "annotations": annotations, "predictions": [predictions]}


def share_of_black(module, epochs=20):
    """Which part of the training patches is black."""
    shown = []
    for epoch in range(epochs):
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        shown += [batch.images.float().mean((1, 2, 3)) < 1 for batch in loader]
    return torch.cat(shown).float().mean().item()


def test_all_training_batches_have_one_shape(toy_coco, tmp_path):
    for batch in datamodule(toy_coco, tmp_path).train_dataloader():
        assert batch.images.shape == (8, 3, 32, 32)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.coarse.dtype == batch.truth.dtype == torch.bool


def test_the_number_of_workers_changes_nothing(toy_coco, tmp_path):
    alone = batches(datamodule(toy_coco, tmp_path), 1)
    for workers in (1, 2):
        assert equal(batches(datamodule(toy_coco, tmp_path, num_workers=workers), 1), alone)


def test_batches_depend_on_seed_and_epoch(toy_coco, tmp_path):
    module = datamodule(toy_coco, tmp_path)
    assert equal(batches(module, 1), batches(module, 1))
    assert not equal(batches(module, 1), batches(module, 2))
    assert not equal(batches(module, 1), batches(datamodule(toy_coco, tmp_path, seed=1), 1))


def test_a_batch_larger_than_the_data_set_is_refused(toy_coco, tmp_path):
    with pytest.raises(SettingError, match=r"lower data\.batch_size"):
        datamodule(toy_coco, tmp_path, batch_size=4096).train_dataloader()


@pytest.mark.parametrize(("crop_size", "side"), [(None, 64), (32, 32)])
def test_an_augmentation_that_changes_the_size_of_patches_is_refused(toy_coco, tmp_path, crop_size, side):
    right, wrong = (PatchAugmentation([albumentations.RandomResizedCrop((n, n), p=0.1)]) for n in (side, 48))
    data = TrainingData(
        train=[source_of(toy_coco)], cache=tmp_path, batch_size=4, patches_per_image=2, crop_size=crop_size
    )
    PatchDataModule(data, PatchSpec(64), right)
    resized = [albumentations.RandomCrop(16, 16, p=1), albumentations.Resize(side, side)]
    PatchDataModule(data, PatchSpec(64), PatchAugmentation(resized))
    with pytest.raises(SettingError, match=rf"^augment: RandomResizedCrop makes .*48.* they are of {side} px"):
        PatchDataModule(data, PatchSpec(64), wrong)


def test_sources_have_their_shares_of_an_epoch(toy_coco, tmp_path):
    first, second = (part_of(toy_coco, name, ids) for name, ids in (("first", [10]), ("second", [11, 12, 13])))
    black = toy_coco.images / "000000000010.png"
    Image.new("RGB", Image.open(black).size).save(black)
    shares, lengths = {}, set()
    for weights in ((None, None), (1, 1), (3, 1)):
        train = [Source(**first, weight=weights[0]), Source(**second, weight=weights[1])]
        data = TrainingData(train=train, cache=tmp_path / "cache", batch_size=2, patches_per_image=2, num_workers=0)
        module = PatchDataModule(data, SPEC)
        module.setup()
        lengths.add(len(module.train_dataloader()))
        shares[weights] = share_of_black(module)
    (length,) = lengths  # weights do not change how long an epoch is
    assert shares[None, None] < 0.4
    # A share is rounded to whole groups of one epoch.
    assert shares[1, 1] == pytest.approx(0.5, abs=0.5 / length)
    assert shares[3, 1] == pytest.approx(0.75, abs=0.5 / length)


def test_a_weight_without_patches_names_the_source(toy_coco, tmp_path):
    empty = part_of(toy_coco, "empty", [14])  # has no prediction
    train = [source_of(toy_coco, 1), Source(**empty, weight=1)]
    with pytest.raises(FormatError, match=r"empty_instances\.json: has a weight, but no prediction matches"):
        datamodule(toy_coco, tmp_path, train=train)


def test_simulated_masks_take_the_place_of_predictions_or_join_them(toy_coco, tmp_path, capsys):
    matched = {}
    for coarse in ("cached", "simulated", "both"):
        module = datamodule(toy_coco, tmp_path, coarse=coarse, simulated_per_object=2, patches_per_instance=1)
        matched[coarse] = len(module.train_dataloader().sampler)
        assert batches(module)
    assert matched["cached"] < matched["simulated"] < matched["both"]


def test_a_data_set_without_predictions_is_for_simulation(toy_coco, tmp_path):
    source = Source(toy_coco.images, toy_coco.annotations)
    module = datamodule(toy_coco, tmp_path, train=[source], val=[source], coarse="simulated")
    assert len(list(module.val_dataloader())) > 0
    with pytest.raises(FormatError, match=r"data\.coarse=simulated"):
        datamodule(toy_coco, tmp_path, train=[source], val=[source])


def test_without_a_validation_set_there_is_none(toy_coco, tmp_path):
    assert datamodule(toy_coco, tmp_path, val=[]).val_dataloader() == []


def test_a_training_that_goes_on_draws_from_its_epoch_before_lightning_says_which(toy_coco, tmp_path):
    """Workers draw as soon as there is an iterator."""
    module = datamodule(toy_coco, tmp_path)
    module.load_state_dict({"batches_seen": 0, "epoch": 2})
    resumed = module.train_dataloader().sampler
    whole = module.train_dataloader().sampler
    whole.set_epoch(2)
    assert [group.seed for group in resumed] == [group.seed for group in whole]


class Sums(pl.LightningModule):
    """Notes what it is shown."""

    def __init__(self):
        super().__init__()
        self.shown, self.line = [], torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        self.shown.append(int(batch.images.sum()))
        return self.line(torch.ones(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class StopAfterAnEpoch(pl.Callback):
    def on_train_epoch_end(self, trainer, *_):
        trainer.should_stop = True


def test_a_training_that_a_callback_ended_with_an_epoch_goes_on_with_the_next(toy_coco, tmp_path):
    def shown(folder, *callbacks, resumed=None):
        saving = StepCheckpoint(folder, "step{step}", every_n_train_steps=2, save_top_k=1, save_last=True)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer, module = pl.Trainer(max_epochs=2, callbacks=[*callbacks, saving], **quiet), Sums()
        trainer.fit(
            module,
            datamodule=datamodule(toy_coco, tmp_path, val=[], num_workers=1),
            ckpt_path=resumed,
            weights_only=True,
        )
        return module.shown

    whole = shown(tmp_path / "whole")
    first = shown(tmp_path / "first", StopAfterAnEpoch())
    assert whole == first + shown(tmp_path / "second", resumed=tmp_path / "first" / "last.ckpt")
    assert len(first) % 2 == 1  # so that it was saved for its end alone
