from dataclasses import replace

import numpy as np
import pytest

from bpr.data.image_records import training_records
from bpr.data.index import build_index, cached_index, digest
from bpr.formats.annotations import read_annotations
from bpr.structures import PatchSpec, Round


@pytest.fixture
def records(toy_coco):
    return training_records(toy_coco.images, read_annotations(toy_coco.annotations), [toy_coco.predictions])


def test_index_names_boxes_on_the_boundary_of_matched_predictions(records):
    index = build_index(records, PatchSpec(16, 0.25))
    assert index.image.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (np.diff(index.instance) >= 0).all()
    assert set(index.instance) == set(range(12))
    assert index.unmatched[0] == 0
    assert len(build_index(records, PatchSpec(16, 0.25), min_iou=0.99)) == 0


def test_the_cache_gives_back_what_was_built(records, tmp_path):
    built, path = cached_index(records, PatchSpec(16), 0.5, tmp_path / "cache")
    modified = path.stat().st_mtime_ns
    read, _ = cached_index(records, PatchSpec(16), 0.5, tmp_path / "cache")
    assert path.stat().st_mtime_ns == modified
    for name in built.__slots__:
        np.testing.assert_array_equal(getattr(read, name), getattr(built, name))
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [path.name]


def test_the_digest_changes_with_all_that_determines_the_index(records):
    first = records[0]
    other_mask = replace(first, instances=(replace(first.instances[0], rle=first.truths[0].rle), *first.instances[1:]))
    variants = [
        (records, PatchSpec(16), 0.5),
        (records, PatchSpec(32), 0.5),
        (records, PatchSpec(16, 0.55), 0.5),
        (records, PatchSpec(16), 0.6),
        (records, PatchSpec(16), 0.5, (Round.boundary, Round.object)),
        (records[1:], PatchSpec(16), 0.5),
        ([other_mask, *records[1:]], PatchSpec(16), 0.5),
        ([replace(first, truths=first.truths[1:]), *records[1:]], PatchSpec(16), 0.5),
    ]
    digests = [digest(*variant) for variant in variants]
    assert len(set(digests)) == len(variants)
    assert digest(*variants[0]) == digests[0]


def test_each_round_has_patches_of_its_own_side(records):
    both = build_index(records, PatchSpec(16, 0.25), rounds=(Round.boundary, Round.object))
    alone = build_index(records, PatchSpec(16, 0.25))
    assert (both.side[::2] == 16).all()
    assert ((both.side[1::2] >= 32) & (both.side[1::2] % 2 == 0)).all()
    np.testing.assert_array_equal(both.corners[both.instance % 2 == 0], alone.corners)
    np.testing.assert_array_equal(both.coarse[::2], both.coarse[1::2])
