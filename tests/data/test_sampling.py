import numpy as np
import pytest

from bpr.data.index import PatchIndex
from bpr.data.sampling import PatchGroupSampler, SourceShares
from bpr.structures import SettingError


def make_index(patches_per_instance, image_of_instance):
    m = len(image_of_instance)
    return PatchIndex(
        corners=np.zeros((sum(patches_per_instance), 2), np.int32),
        instance=np.repeat(np.arange(m, dtype=np.int32), patches_per_instance),
        image=np.array(image_of_instance, np.int32),
        coarse=np.zeros(m, np.int32),
        truth=np.zeros(m, np.int32),
        side=np.full(m, 64, np.int32),
        unmatched=np.array([0]),
    )


INDEX = make_index([40, 3, 0, 1, 9], [0, 0, 0, 1, 2])


def requested(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [(group.seed, group.patches.tolist()) for group in sampler]


def test_an_epoch_without_limit_shows_every_patch():
    groups = requested(PatchGroupSampler(INDEX, 4))
    assert {p for _, patches in groups for p in patches} == set(range(53))
    assert all(len(patches) == 4 for _, patches in groups)


def test_a_group_stays_in_one_image():
    for _, patches in requested(PatchGroupSampler(INDEX, 4)):
        assert len(set(INDEX.image[INDEX.instance[patches]])) == 1


def test_large_instances_are_limited():
    groups = requested(PatchGroupSampler(INDEX, 1, patches_per_instance=3))
    shown = np.bincount(INDEX.instance[[patches[0] for _, patches in groups]], minlength=5)
    assert shown.tolist() == [3, 3, 0, 1, 3]


def test_epochs_differ_and_repeat_by_seed():
    sampler = PatchGroupSampler(INDEX, 4, 8, seed=3)
    assert requested(sampler, 1) == requested(PatchGroupSampler(INDEX, 4, 8, seed=3), 1)
    assert requested(sampler, 1) != requested(sampler, 2)
    assert requested(sampler, 1) != requested(PatchGroupSampler(INDEX, 4, 8, seed=4), 1)
    assert len(requested(sampler, 1)) == len(requested(sampler, 2)) == len(sampler)


def test_processes_share_an_epoch_without_overlap():
    whole = requested(PatchGroupSampler(INDEX, 4))
    parts = [requested(PatchGroupSampler(INDEX, 4, num_replicas=2, rank=rank)) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == len(whole) // 2
    seeds = [seed for part in parts for seed, _ in part]
    assert len(set(seeds)) == len(seeds)
    assert set(seeds) <= {seed for seed, _ in whole}


def test_validation_is_the_same_in_every_epoch_and_loses_nothing():
    parts = [PatchGroupSampler(INDEX, 4, 2, shuffle=False, num_replicas=3, rank=rank) for rank in range(3)]
    assert sum(len(requested(part)) for part in parts) == len(PatchGroupSampler(INDEX, 4, 2, shuffle=False))
    assert requested(parts[0], 0) == requested(parts[0], 5)


def test_what_was_seen_before_an_interruption_is_skipped_once():
    sampler = PatchGroupSampler(INDEX, 4, 8)
    whole = requested(sampler)
    sampler.skip_once(3)
    assert requested(sampler) == whole[3:]
    assert requested(sampler) == whole


def test_no_matched_patch_is_an_error_that_says_what_to_check():
    with pytest.raises(SettingError, match="check that predictions and annotations"):
        PatchGroupSampler(make_index([], []), 4)


HALVES = SourceShares(np.array([0, 0, 0, 0, 1]), np.array([0.5, 0.5]))  # 44 and 9 patches


def by_source(groups):
    source = [int(HALVES.source[INDEX.instance[patches[0]]]) for _, patches in groups]
    return [[patches for (_, patches), its in zip(groups, source, strict=True) if its == n] for n in (0, 1)]


def test_sources_share_an_epoch_of_the_same_length():
    sampler = PatchGroupSampler(INDEX, 4, shares=HALVES)
    assert len(sampler) == len(PatchGroupSampler(INDEX, 4))
    large, small = by_source(requested(sampler))
    assert abs(len(large) - len(small)) <= 1
    assert requested(sampler, 1) == requested(PatchGroupSampler(INDEX, 4, shares=HALVES), 1)


@pytest.mark.parametrize("shares", [[0.98, 0.02], [0.5, 0.001, 0.499], [0.004, 0.33, 0.003, 0.663]])
def test_a_source_of_a_small_weight_has_its_share_over_many_epochs(shares):
    """Of one epoch, rounding would leave it nothing."""
    source = np.arange(len(shares))
    index = make_index([4] * len(shares), source)
    sampler = PatchGroupSampler(index, 1, shares=SourceShares(source, np.array(shares)))
    shown = np.zeros(len(shares))
    for epoch in range(1000):
        of_epoch = [index.instance[patches[0]] for _, patches in requested(sampler, epoch)]
        assert len(of_epoch) == len(sampler)
        shown += np.bincount(of_epoch, minlength=len(shares))
    assert shown == pytest.approx(np.array(shares) * len(sampler) * 1000, abs=3)


def test_a_large_source_shows_another_part_in_each_epoch_and_a_small_one_comes_again_differently():
    sampler = PatchGroupSampler(INDEX, 4, shares=HALVES)
    shown = [{p for patches in by_source(requested(sampler, epoch))[0] for p in patches} for epoch in range(30)]
    assert all(len(patches) < 44 for patches in shown)
    assert set().union(*shown) == set(range(44))
    small = by_source(requested(sampler))[1]
    assert {p for patches in small for p in patches} == set(range(44, 53))
    assert len({tuple(patches) for patches in small}) > 3  # one pass over its 9 patches has three groups
