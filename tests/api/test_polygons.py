import numpy as np
import pytest
import torch

from bpr import rle
from bpr.api.polygons import from_polygons

SIZE = (60, 80)
SQUARE = np.array([[10, 10], [30, 10], [30, 40], [10, 40]])
TRIANGLE = np.array([[50, 20], [70, 20], [60, 50]])
KINDS = {
    "ints": lambda points: points,
    "int32": lambda points: points.astype(np.int32),
    "float32": lambda points: points.astype(np.float32),
    "tensor": lambda points: torch.from_numpy(points).float(),
    "lists": lambda points: points.astype(float).tolist(),
    "lists of ints": lambda points: points.tolist(),
}


def drawn(parts):
    return rle.decode(rle.from_segmentation([np.asarray(part).ravel().tolist() for part in parts], SIZE))


@pytest.fixture
def refined():
    """Masks other than those of square and triangle: two parts, and one with a hole."""
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 8:12, 5:9] = masks[0, 20:45, 10:33] = True
    masks[1, 20:50, 45:75] = True
    masks[1, 30:35, 50:60] = False
    return masks


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_part_becomes_a_polygon_of_the_type_that_came(refined, kind):
    given = [kind(SQUARE), kind(TRIANGLE)]
    adapted = from_polygons(given, SIZE)
    assert adapted.arrays.sum(axis=(1, 2)).tolist() == [600, drawn([TRIANGLE]).sum()]
    two, one = adapted.rebuild(refined)
    assert (len(two), len(one)) == (2, 1)
    assert np.array_equal(drawn(two), refined[0])
    assert np.array_equal(drawn(two[:1])[:15], np.zeros((15, 80), bool))  # the largest part comes first
    assert drawn(one)[20:50, 45:75].all()  # the hole is filled
    for part in (*two, *one):
        assert type(part) is type(given[0])
        assert np.asarray(part).dtype == np.asarray(given[0]).dtype
        assert np.asarray(part).shape[1] == 2


def test_objects_of_several_parts_are_one_object(refined):
    adapted = from_polygons([[SQUARE, TRIANGLE], SQUARE], SIZE)
    assert np.array_equal(adapted.arrays[0], drawn([SQUARE]) | drawn([TRIANGLE]))
    assert len(adapted.rebuild(refined)[0]) == 2


def test_empty_parts_of_tensors_are_left_out():
    square, nothing = torch.from_numpy(SQUARE), torch.zeros(0, 2)
    adapted = from_polygons([[square, nothing], nothing], SIZE)
    (parts, empty) = adapted.rebuild(adapted.arrays)
    assert (len(parts), torch.equal(parts[0], square), empty) == (1, True, [])


def test_unchanged_parts_keep_their_own_types():
    whole, fractions = SQUARE.tolist(), [[100.5, 100.25], [110.5, 100.25], [110.5, 110.75]]
    adapted = from_polygons([[whole, fractions]], (200, 200))
    assert adapted.rebuild(adapted.arrays) == [[whole, fractions]]


def test_unchanged_objects_have_the_points_that_were_given():
    given = [SQUARE, [SQUARE, TRIANGLE], np.zeros((0, 2))]
    adapted = from_polygons(given, SIZE)
    square, both, empty = adapted.rebuild(adapted.arrays)
    assert np.array_equal(square, [SQUARE])
    assert [part.tolist() for part in both] == [SQUARE.tolist(), TRIANGLE.tolist()]
    assert empty == []
    assert square[0] is not SQUARE


def test_a_tolerance_saves_points():
    disc = np.hypot(*(np.mgrid[:60, :80] - np.array([30, 40])[:, None, None])) < 20
    exact, thinned = (from_polygons([TRIANGLE], SIZE, tolerance).rebuild(disc[None]) for tolerance in (0, 1.0))
    assert len(thinned[0][0]) < len(exact[0][0]) / 2


def test_no_objects_are_no_masks():
    assert from_polygons([], SIZE).arrays.shape == (0, *SIZE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SQUARE, r"a list with a \(k, 2\) array for each object, got ndarray"),
        ([SQUARE, SQUARE[:2]], "object 1: a polygon has three points or more, got 2; leave it out"),
        ([SQUARE, SQUARE.ravel()], r"object 1: .*got int64 \(8,\); reshape"),
        ([SQUARE[:, None]], r"object 0: .*got int64 \(4, 1, 2\); reshape\(-1, 2\) makes it .* OpenCV"),
        ([np.zeros((4, 3))], r"object 0: .*\(k, 2\) numbers, x and y in px, got float64 \(4, 3\)"),
        ([[[1, 2], [3]]], "object 0 is no"),
        ([SQUARE * np.nan], "object 0: a coordinate is not a finite number"),
        ([SQUARE * 1000], "object 0: a polygon has a coordinate far outside"),
        ([SQUARE / 80, TRIANGLE / 80], r"all coordinates of the polygons are in \[0, 1\].*multiply x by the width"),
    ],
)
def test_what_is_no_polygon_is_refused(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        from_polygons(given, SIZE)


@pytest.mark.parametrize(("kind", "longest"), [(np.uint8, 255), (np.int16, 32767), (np.float16, 1024)])
def test_a_type_that_cannot_hold_all_corners_is_refused(kind, longest):
    from_polygons([SQUARE.astype(kind)], (60, longest))
    with pytest.raises(ValueError, match=f"object 0: {np.dtype(kind)} cannot hold all coordinates"):
        from_polygons([SQUARE.astype(kind)], (60, longest + 1))


@pytest.mark.parametrize(("kind", "longest"), [(torch.uint8, 255), (torch.float16, 1024), (torch.bfloat16, 128)])
def test_a_type_of_tensors_that_cannot_hold_all_corners_is_refused(kind, longest):
    tensor = torch.from_numpy(SQUARE).to(kind)
    from_polygons([tensor], (60, longest))
    with pytest.raises(ValueError, match=f"object 0: {kind} cannot hold all coordinates"):
        from_polygons([tensor], (60, longest + 1))


@pytest.mark.parametrize("empty", [[], np.zeros((0, 2))], ids=["list", "array"])
def test_an_empty_part_may_be_anywhere(empty, refined):
    for parts in ([empty, SQUARE], [SQUARE, empty]):
        adapted = from_polygons([parts], SIZE)
        assert np.array_equal(adapted.arrays[0], drawn([SQUARE]))
        assert all(type(part) is type(SQUARE) for part in adapted.rebuild(refined[:1])[0])
