import albumentations
import numpy as np
import pytest
import torch

from bpr import rle
from bpr.data import datasets
from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import PatchGroup
from bpr.data.datamodule import PatchDataModule, RefinementDataModule, Source
from bpr.data.datasets import PatchDataset, RefinementDataset
from bpr.data.images import read_image
from bpr.data.index import build_index
from bpr.data.records import training_records
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.patches.engine import Method
from bpr.structures import CoarseInstance, ImageRecord, PatchSpec, Round

SPEC = PatchSpec(32, 0.25)


@pytest.fixture
def records(toy_coco):
    return training_records(toy_coco.images, read_annotations(toy_coco.annotations), [toy_coco.predictions])


def datamodule(toy, tmp_path, **options):
    source = Source(str(toy.images), str(toy.annotations), [str(toy.predictions)])
    augmentation = PatchAugmentation([albumentations.HorizontalFlip(p=0.5), albumentations.ColorJitter(p=1.0)])
    defaults = {"batch_size": 8, "patches_per_image": 2, "augmentation": augmentation}
    module = PatchDataModule([source], [source], SPEC, tmp_path / "cache", **{**defaults, **options})
    module.setup()
    return module


def batches(module, epoch=0):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [torch.cat([b.images.flatten(), b.coarse.flatten(), b.truth.flatten()]) for b in loader]


def equal(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_patches_are_the_pixels_under_their_boxes(records):
    index = build_index(records, SPEC)
    dataset = PatchDataset(records, index, SPEC.size)
    for patch in range(0, len(index), 7):
        batch = dataset[PatchGroup((0,), np.array([patch]))]
        instance = index.instance[patch]
        record = records[index.image[instance]]
        x, y = index.corners[patch]
        rows, columns = slice(y, y + 32), slice(x, x + 32)
        image = read_image(record.path, record.size)[rows, columns]
        np.testing.assert_array_equal(batch.images[0].permute(1, 2, 0).numpy(), image)
        coarse = rle.decode(record.instances[index.coarse[instance]].rle)[rows, columns]
        truth = rle.decode(record.truths[index.truth[instance]].rle)[rows, columns]
        np.testing.assert_array_equal(batch.coarse[0].numpy(), coarse)
        np.testing.assert_array_equal(batch.truth[0].numpy(), truth)


def test_image_and_masks_are_flipped_together():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    masks = np.stack([np.eye(4, dtype=bool), np.tri(4, dtype=bool)])
    flip = PatchAugmentation([albumentations.HorizontalFlip(p=1.0)])
    flipped, flipped_masks = flip(image, masks)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(flipped_masks, masks[:, :, ::-1])
    assert flipped_masks.dtype == np.bool_


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


def test_impossible_batch_sizes_are_refused(toy_coco, tmp_path):
    with pytest.raises(ValueError, match=r"must be a multiple of data\.patches_per_image"):
        datamodule(toy_coco, tmp_path, batch_size=7)
    with pytest.raises(ValueError, match=r"lower data\.batch_size"):
        datamodule(toy_coco, tmp_path, batch_size=4096).train_dataloader()


def test_refinement_needs_no_truth_and_says_why_a_mask_has_no_patches(records):
    record = records[0]
    empty, full = (rle.encode(np.full(record.size, value)) for value in (False, True))
    masks = [record.instances[0].rle, empty, full]
    instances = tuple(CoarseInstance(code, 1, 0.5, 40 + n) for n, code in enumerate(masks))
    image = RefinementDataset([ImageRecord(7, record.path, record.size, instances)], Method(SPEC))[0]
    assert [placed.mask.position for placed in image.placed] == [40, 41, 42]
    assert [placed.mask.reason for placed in image.placed[1:]] == ["empty mask", "no boundary inside the image"]
    assert image.patches == len(image.placed[0].boxes) == len(image.crops.images) > 0
    for crop_, (x1, y1, x2, y2) in zip(image.crops.masks, image.placed[0].boxes, strict=True):
        np.testing.assert_array_equal(crop_, rle.decode(masks[0])[y1:y2, x1:x2])


def test_an_image_with_nothing_to_refine_is_not_even_opened(tmp_path):
    empty = rle.encode(np.zeros((9, 9), bool))
    record = ImageRecord(1, tmp_path / "absent.png", (9, 9), (CoarseInstance(empty, 1, 0.5, 0),))
    image = RefinementDataset([record], Method(SPEC))[0]
    assert image.crops is None
    assert image.patches == 0


@pytest.mark.parametrize("rounds", [(Round.boundary,), (Round.object, Round.boundary)])
def test_an_image_is_decoded_once_for_all_rounds(records, monkeypatch, rounds):
    opened = []
    monkeypatch.setattr(datasets, "read_image", lambda path, *rest: opened.append(path) or read_image(path, *rest))
    image = RefinementDataset(records, Method(SPEC, rounds, 64))[0]
    assert opened == [records[0].path]
    if len(rounds) > 1:
        assert image.image.read().shape == (*records[0].size, 3)
    assert len(opened) == 1


def test_several_images_share_a_batch(records):
    for workers in (0, 1):
        loader = RefinementDataModule(records, Method(SPEC), 3, workers).predict_dataloader()
        assert [[image.image.image_id for image in batch.images] for batch in loader] == [[10, 11, 12], [13]]


def test_simulated_masks_take_the_place_of_predictions_or_join_them(toy_coco, tmp_path):
    joined = {}
    for coarse in ("cached", "simulated", "both"):
        module = datamodule(toy_coco, tmp_path, coarse=coarse, simulated_per_object=2)
        joined[coarse] = {r.image_id: len(r.instances) for r in module._sets["train"][0]}
        assert {r.image_id: len(r.instances) for r in module._sets["val"][0]} == joined["cached"]
        assert batches(module)
    assert joined["cached"] == {10: 3, 11: 3, 12: 3, 13: 3}
    assert joined["simulated"] == {10: 6, 11: 6, 12: 6, 13: 6, 14: 6}
    assert joined["both"] == {10: 9, 11: 9, 12: 9, 13: 9, 14: 6}


def test_a_data_set_without_predictions_is_for_simulation(toy_coco, tmp_path):
    source = Source(toy_coco.images, toy_coco.annotations)
    module = PatchDataModule([source], [source], SPEC, tmp_path, coarse="simulated")
    module.setup()
    assert len(module._sets["val"][0]) == 5
    with pytest.raises(FormatError, match=r"data\.coarse=simulated"):
        PatchDataModule([source], [source], SPEC, tmp_path).setup()
