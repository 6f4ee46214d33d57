import albumentations
import numpy as np
import pytest

from bpr import rle
from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import PatchGroup, collate_refinement
from bpr.data.datasets import PatchDataset, RefinementDataset
from bpr.data.images import read_image
from bpr.data.index import build_index
from bpr.data.records import training_records
from bpr.formats.coco import read_annotations
from bpr.structures import CoarseInstance, ImageRecord, PatchSpec

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


def test_image_and_masks_are_flipped_together():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    masks = np.stack([np.eye(4, dtype=bool), np.tri(4, dtype=bool)])
    flip = PatchAugmentation([albumentations.HorizontalFlip(p=1.0)])
    flipped, flipped_masks = flip(image, masks)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(flipped_masks, masks[:, :, ::-1])
    assert flipped_masks.dtype == np.bool_


def test_refinement_needs_no_truth_and_counts_what_it_skips(records):
    record = records[0]
    height, width = record.size
    empty, full = (rle.encode(np.full(record.size, value)) for value in (False, True))
    masks = [record.instances[0].rle, empty, full]
    instances = tuple(CoarseInstance(code, 1, 0.5, 40 + n) for n, code in enumerate(masks))
    layout, images, coarse = RefinementDataset([ImageRecord(7, record.path, record.size, instances)], SPEC)[0]
    assert layout.skipped == {"empty mask": 1, "no boundary inside the image": 1}
    assert [w.position for w in layout.windows] == [40]
    assert layout.patches == len(images) == len(coarse) > 0
    for crop_, (x1, y1, x2, y2) in zip(coarse, layout.windows[0].boxes, strict=True):
        np.testing.assert_array_equal(crop_, rle.decode(masks[0])[y1:y2, x1:x2])
    assert (height, width) == layout.size


def test_an_image_with_nothing_to_refine_is_not_even_opened(tmp_path):
    empty = rle.encode(np.zeros((9, 9), bool))
    record = ImageRecord(1, tmp_path / "absent.png", (9, 9), (CoarseInstance(empty, 1, 0.5, 0),))
    batch = collate_refinement([RefinementDataset([record], SPEC)[0]] * 2)
    assert len(batch.images) == 0
    assert [layout.skipped for layout in batch.layouts] == [{"empty mask": 1}] * 2
