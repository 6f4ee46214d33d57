import albumentations
import numpy as np
import pytest

from bpr import rle
from bpr.data import datasets
from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import PatchGroup
from bpr.data.datamodule import RefinementDataModule
from bpr.data.datasets import PatchDataset, RefinementDataset, image_masks
from bpr.data.image_records import training_records
from bpr.data.images import read_image
from bpr.data.index import build_index
from bpr.formats.annotations import read_annotations
from bpr.patches.cutting import cut_patches
from bpr.patches.engine import Method
from bpr.patches.windows import LOW_SCORE
from bpr.structures import ImageRecord, PatchSpec, Prediction, Round

SPEC = PatchSpec(32, 0.25)


@pytest.fixture
def records(toy_coco):
    return training_records(toy_coco.images, read_annotations(toy_coco.annotations), [toy_coco.predictions])


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


def test_patches_of_all_sides_are_cut_as_refinement_cuts_them(records):
    """What the network is trained on is what the engine shows it, whatever the round."""
    rounds, spec = (Round.boundary, Round.object), PatchSpec(16, 0.25)
    index = build_index(records, spec, rounds=rounds)
    dataset = PatchDataset(records, index, 64)
    record, image = records[0], image_masks(records[0])
    shown = [Method(spec, (kind,), 64).place(image) for kind in rounds]
    for row in np.flatnonzero(index.image == 0)[:4]:
        placed = shown[row % 2].placed[index.coarse[row]]
        expected = cut_patches(read_image(record.path, record.size), placed, 64)
        batch = dataset[PatchGroup((0,), np.flatnonzero(index.instance == row))]
        np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), expected.images)
        np.testing.assert_array_equal(batch.coarse.numpy(), expected.masks)
    assert len(np.unique(index.side)) > 1


def test_image_and_masks_are_flipped_together():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    masks = np.stack([np.eye(4, dtype=bool), np.tri(4, dtype=bool)])
    flip = PatchAugmentation([albumentations.HorizontalFlip(p=1.0)])
    flipped, flipped_masks = flip(image, masks)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(flipped_masks, masks[:, :, ::-1])
    assert flipped_masks.dtype == np.bool_


def test_refinement_needs_no_truth_and_says_why_a_mask_has_no_patches(records):
    record = records[0]
    empty, full = (rle.encode(np.full(record.size, value)) for value in (False, True))
    masks = [record.instances[0].rle, empty, full]
    instances = tuple(Prediction(code, 1, 0.5, 40 + n) for n, code in enumerate(masks))
    image = RefinementDataset([ImageRecord(7, record.path, record.size, instances)], Method(SPEC))[0]
    assert [placed.mask.position for placed in image.placed] == [40, 41, 42]
    assert [placed.mask.reason for placed in image.placed[1:]] == ["empty mask", "no boundary inside the image"]
    assert image.patches == len(image.placed[0].boxes) == len(image.crops.images) > 0
    for crop_, (x1, y1, x2, y2) in zip(image.crops.masks, image.placed[0].boxes, strict=True):
        np.testing.assert_array_equal(crop_, rle.decode(masks[0])[y1:y2, x1:x2])


@pytest.mark.parametrize("rounds", [(Round.boundary,), (Round.object, Round.boundary)])
def test_predictions_with_a_low_score_are_neither_decoded_nor_refined(records, monkeypatch, rounds):
    decoded, decode = [], rle.decode
    monkeypatch.setattr(rle, "decode", lambda *given: decoded.append(given) or decode(*given))
    code = records[0].instances[0].rle
    instances = tuple(Prediction(code, 1, score, n) for n, score in enumerate((0.24, 0.25, 0.1)))
    record = ImageRecord(7, records[0].path, records[0].size, instances)
    method = Method(SPEC, rounds, 64)
    image = RefinementDataset([record], method, min_score=0.25)[0]
    assert [len(placed.boxes) > 0 for placed in image.placed] == [False, True, False]
    for number in range(len(rounds)):
        image = method.place(method.paste(image, np.ones((image.patches, 64, 64), np.float32), last=False), number)
    assert [mask.reason for mask in image.image.masks] == [LOW_SCORE, None, LOW_SCORE]
    assert len(decoded) == 1


def test_an_image_with_nothing_to_refine_is_not_even_opened(tmp_path):
    empty = rle.encode(np.zeros((9, 9), bool))
    record = ImageRecord(1, tmp_path / "absent.png", (9, 9), (Prediction(empty, 1, 0.5, 0),))
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
