import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bpr.patches.cutting import Crops, object_side
from bpr.patches.engine import ImageMasks, Method, join_crops, refine
from bpr.patches.windows import MaskWindow
from bpr.structures import PatchSpec, Round


def identity(images, masks):
    return lambda: masks.astype(np.float32)


def inverse(images, masks):
    return lambda: 1 - masks.astype(np.float32)


def image_of(masks, pixels=None):
    height, width = masks[0].shape
    pixels = np.zeros((height, width, 3), np.uint8) if pixels is None else pixels
    return ImageMasks(7, (height, width), tuple(MaskWindow.of(n, mask) for n, mask in enumerate(masks)), lambda: pixels)


def in_full(mask, size):
    x1, y1, x2, y2 = mask.window
    full = np.zeros(size, bool)
    full[y1:y2, x1:x2] = mask.mask
    return full


def disc(size, x, y, radius):
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 < radius**2


def run(masks, network, method, most=5, **options):
    placed = [method.place(image_of(masks))]
    (image,) = refine(placed, network, method, most, **options)()
    return image.masks


@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.sampled_from([8, 32]))
def test_a_network_that_returns_its_mask_changes_none(mask, side):
    (refined,) = run([mask], identity, Method(PatchSpec(side)))
    np.testing.assert_array_equal(in_full(refined, mask.shape), mask)
    assert refined.equals(MaskWindow.of(0, mask))


@pytest.mark.parametrize("rounds", [(Round.object,), (Round.object, Round.boundary)])
@pytest.mark.parametrize("radius", [10, 40, 200])
def test_patches_that_follow_the_object_give_a_mask_back_up_to_the_resizing(rounds, radius):
    mask = disc((500, 600), 300, 250, radius)
    (refined,) = run([mask], identity, Method(PatchSpec(64), rounds, 64))
    full = in_full(refined, mask.shape)
    assert (full & mask).sum() / (full | mask).sum() > 0.97


def test_a_round_starts_from_what_the_one_before_made():
    mask = disc((90, 90), 45, 45, 20)
    once = run([mask], inverse, Method(PatchSpec(16), (Round.boundary,)))[0]
    twice = run([mask], inverse, Method(PatchSpec(16), (Round.boundary, Round.boundary)))[0]
    by_hand = run([in_full(once, mask.shape)], inverse, Method(PatchSpec(16)))[0]
    assert twice.equals(by_hand)
    assert not twice.equals(once)
    assert twice.patches == once.patches + by_hand.patches


@pytest.mark.parametrize(("radius", "again"), [(15, True), (60, False)])
@pytest.mark.parametrize("keep", [False, True])
def test_a_second_round_passes_by_what_the_first_hardly_changed(radius, again, keep):
    mask = disc((160, 160), 80, 80, radius)

    def erode(images, masks):
        eroded = [cv2.erode(one.astype(np.uint8), np.ones((3, 3), np.uint8)) for one in masks]
        return lambda: np.stack(eroded).astype(np.float32)

    rounds = (Round.boundary, Round.boundary)
    (once,) = run([mask], erode, Method(PatchSpec(64)), keep_probabilities=keep)
    (twice,) = run([mask], erode, Method(PatchSpec(64), rounds), keep_probabilities=keep)
    assert (twice.patches > once.patches) is again
    assert twice.equals(once) is not again
    assert (twice.probabilities is not None) is keep
    if keep:
        np.testing.assert_array_equal(twice.probabilities > 0.5, twice.mask)


def test_each_instance_has_its_own_side_and_all_share_a_pass():
    seen = []

    def network(images, masks):
        seen.append(images.shape)
        return identity(images, masks)

    small, large = disc((400, 400), 60, 60, 10), disc((400, 400), 250, 250, 120)
    assert object_side(small) == 32
    assert object_side(large) == 240
    run([small, large], network, Method(PatchSpec(64), (Round.object,), 96), most=1000)
    assert len(seen) == 1
    assert seen[0][1:] == (96, 96, 3)


def test_an_object_that_was_seen_as_closely_before_has_no_patches_at_its_boundary():
    small, large = disc((400, 400), 60, 60, 30), disc((400, 400), 250, 250, 120)
    assert object_side(small) <= 64 < object_side(large)
    once = run([small, large], inverse, Method(PatchSpec(64), (Round.object,), 64))
    both = run([small, large], inverse, Method(PatchSpec(64), (Round.object, Round.boundary), 64))
    assert both[0].equals(once[0])
    assert both[0].patches == once[0].patches
    assert both[1].patches > once[1].patches


@pytest.mark.parametrize("radius", [10, 30, 60])
def test_probabilities_are_those_of_the_last_patches_that_saw_a_mask(radius):
    mask = disc((200, 200), 100, 100, radius)

    def unsure(images, masks):
        return lambda: np.full(masks.shape, 0.75, np.float32)

    rounds = (Round.object, Round.boundary)
    (refined,) = run([mask], unsure, Method(PatchSpec(64, taper=0), rounds, 64), keep_probabilities=True)
    assert refined.probabilities.shape == refined.mask.shape
    assert (refined.probabilities == np.float32(0.75)).any()
    assert set(np.unique(refined.probabilities)) <= {0, np.float32(0.75), 1}


def test_flipped_patches_are_answered_where_they_were_cut():
    seen = []

    def left_half(images, masks):
        """Sure of its mask in the left half of a crop only."""
        seen.append(masks)
        answer = masks.astype(np.float32)
        answer[:, :, masks.shape[2] // 2 :] = 0.5
        return lambda: answer

    mask = disc((90, 90), 40, 45, 20)
    (refined,) = run([mask], left_half, Method(PatchSpec(16), flip=True), keep_probabilities=True)
    np.testing.assert_array_equal(seen[1], seen[0][:, :, ::-1])
    assert refined.equals(MaskWindow.of(0, mask))
    assert set(np.unique(refined.probabilities)) <= {0, 0.25, 0.75, 1, 0.5}
    assert (refined.probabilities == 0.75).any()


def test_a_mask_that_a_round_emptied_goes_on_from_what_it_was():
    mask = disc((60, 60), 30, 30, 6)
    answers = iter([0.0, 1.0])

    def network(images, masks):
        value = next(answers)
        return lambda: np.full(masks.shape, value, np.float32)

    (refined,) = run([mask], network, Method(PatchSpec(32), (Round.boundary, Round.boundary)), most=1000)
    assert refined.reason is None
    assert in_full(refined, mask.shape)[mask].all()


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 7))
def test_crops_are_joined_without_loss_and_in_order(counts, most):
    numbers = iter(range(1000))
    parts = []
    for count in counts:
        values = np.array([next(numbers) for _ in range(count)], np.uint8)
        parts.append(
            Crops(np.broadcast_to(values[:, None, None, None], (count, 2, 2, 3)), np.zeros((count, 2, 2), bool))
        )
    joined = list(join_crops(parts, most))
    assert [len(part.masks) for part in joined[:-1]] == [most] * (len(joined) - 1)
    found = [int(value) for part in joined for value in part.images[:, 0, 0, 0]]
    assert found == list(range(sum(counts)))


def test_an_image_without_patches_is_not_read():
    def unreadable():
        raise AssertionError("read")

    image = ImageMasks(1, (9, 9), (MaskWindow.of(0, np.zeros((9, 9), bool)),), unreadable)
    method = Method(PatchSpec(8), (Round.object, Round.boundary))
    (refined,) = refine([method.place(image)], identity, method, 4)()
    assert refined.masks[0].reason == "empty mask"


@pytest.mark.parametrize("options", [{"rounds": ()}, {"threshold": 1.0}])
def test_an_impossible_method_is_refused(options):
    with pytest.raises(ValueError, match=r"round|threshold"):
        Method(**options)
