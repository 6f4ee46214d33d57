from dataclasses import replace

import pytest

from bpr import rle
from bpr.formats import coco
from bpr.formats.annotations import read_annotations
from bpr.synthetic.coarse_masks import SimulationSpec
from bpr.synthetic.coarse_results import simulated_results


@pytest.fixture
def annotations(toy_coco):
    return read_annotations(toy_coco.annotations)


def make(annotations, cache, count=2, spec=None, seed=0):
    return simulated_results(annotations, cache, count, spec or SimulationSpec(), seed)


def test_every_object_gets_its_masks_in_the_order_of_the_file(annotations, tmp_path):
    entries = coco.read_results(make(annotations, tmp_path))
    expected = [(i, t.category) for i, image in annotations.images.items() for t in image.truths for _ in range(2)]
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == expected
    truths = [t.rle for image in annotations.images.values() for t in image.truths for _ in range(2)]
    ious = [rle.iou([entry["segmentation"]], [t])[0, 0] for entry, t in zip(entries, truths, strict=True)]
    assert all(iou > 0 for iou in ious)
    assert sum(0.5 < iou < 1 for iou in ious) > len(ious) / 2


def test_crowds_are_left_out(annotations, tmp_path):
    image_id, image = next(iter(annotations.images.items()))
    crowd = replace(image, truths=tuple(replace(t, crowd=True) for t in image.truths))
    crowded = replace(annotations, images={**annotations.images, image_id: crowd})
    assert image_id not in {entry["image_id"] for entry in coco.read_results(make(crowded, tmp_path))}


def test_masks_depend_on_the_settings_alone(annotations, tmp_path):
    first, again = make(annotations, tmp_path / "a"), make(annotations, tmp_path / "b")
    assert first.name == again.name
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("change", [{"count": 1}, {"spec": SimulationSpec(severity=2.0)}, {"seed": 1}])
def test_other_settings_give_another_file(annotations, tmp_path, change):
    first, other = make(annotations, tmp_path), make(annotations, tmp_path, **change)
    assert first.name != other.name
    assert first.read_bytes() != other.read_bytes()


def test_a_file_that_is_there_is_not_made_again(annotations, tmp_path):
    path = make(annotations, tmp_path)
    path.write_text("[]")
    assert make(annotations, tmp_path).read_text() == "[]"
