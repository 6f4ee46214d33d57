from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from bpr.patches.boundary import boundary_strength
from bpr.patches.cutting import propose_boxes
from bpr.patches.placement import contour_centres, cover_centres
from bpr.structures import PatchSpec, Placement

MASKS = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans())


def disc(radius, side=200):
    ys, xs = np.mgrid[:side, :side]
    return (xs - side // 2) ** 2 + (ys - side // 2) ** 2 < radius**2


def naive_cover(strength, reach):
    """The definition, pixel by pixel."""
    centres = [tuple(c) for c in np.argwhere(strength)]
    uncovered, kept = set(centres), []
    while uncovered:
        held = [
            sum(y - reach <= v < y + reach and x - reach <= u < x + reach for v, u in uncovered) for y, x in centres
        ]
        y, x = centres[int(np.argmax(held))]
        kept.append((x, y))
        uncovered -= {(v, u) for v, u in uncovered if y - reach <= v < y + reach and x - reach <= u < x + reach}
    return kept


@given(MASKS, st.integers(1, 6))
def test_the_greedy_cover_is_the_one_of_its_definition(mask, reach):
    strength = boundary_strength(mask)
    centres = cover_centres(strength, 2 * reach + 4, 2)
    assert [tuple(c) for c in centres.tolist()] == naive_cover(strength, reach)


@pytest.mark.parametrize("margin", [0, 8])
def test_a_cover_holds_all_of_the_boundary_with_fewer_patches_than_nms(margin):
    mask = disc(80)
    boxes = propose_boxes(mask, PatchSpec(placement=Placement.cover, margin=margin))
    covered = np.zeros_like(mask)
    for x1, y1, x2, y2 in boxes.tolist():
        covered[y1 + margin : y2 - margin, x1 + margin : x2 - margin] = True
    assert covered[boundary_strength(mask) > 0].all()
    assert margin or len(boxes) < len(propose_boxes(mask, PatchSpec(placement=Placement.nms)))


@pytest.mark.parametrize("spacing", [10, 40, 64])
def test_centres_along_the_contour_are_evenly_spaced(spacing):
    mask = disc(80)
    centres = contour_centres(mask, boundary_strength(mask), spacing)
    assert all(mask[y, x] for x, y in centres)
    angles = np.sort(np.arctan2(*(centres - 100).T))
    arcs = np.diff(angles, append=angles[0] + 2 * np.pi) * 80
    # The length of a digital circle is up to a tenth more than that of the circle, by which spacing is measured.
    assert arcs.max() <= spacing + 2
    assert arcs.min() >= 0.8 * arcs.max() - 2
    assert len(centres) == pytest.approx(2 * np.pi * 80 / spacing, abs=0.1 * 2 * np.pi * 80 / spacing + 1)


@given(MASKS)
def test_every_outline_and_hole_gets_a_centre_along_the_contour(mask):
    strength = boundary_strength(mask)
    centres = contour_centres(mask, strength, 1000)
    chosen = np.zeros_like(mask)
    chosen[centres[:, 1], centres[:, 0]] = True
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    for part in range(1, count + 1):
        inside = parts == part
        assert chosen[inside].any() == (strength[inside] > 0).any()


@pytest.mark.parametrize("placement", list(Placement))
def test_a_mask_without_boundary_has_no_patches(placement):
    spec = PatchSpec(placement=placement)
    for mask in (np.zeros((70, 90), bool), np.ones((70, 90), bool), np.zeros((1, 1), bool)):
        assert propose_boxes(mask, spec).shape == (0, 4)


@pytest.mark.parametrize("settings", [{"placement": "nms"}, {"margin": 2}, {"placement": "contour", "spacing": 8}])
@given(mask=MASKS)
def test_boxes_lie_in_the_image_wherever_they_are_placed(settings, mask):
    boxes = propose_boxes(mask, PatchSpec(16, **settings))
    height, width = mask.shape
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= max(width, 16)).all()
    assert (boxes[:, 3] <= max(height, 16)).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


@pytest.mark.parametrize(
    ("settings", "placement", "nms_iou", "tapered"),
    [
        ({}, Placement.cover, None, 0.25),
        ({"taper": 0.5}, Placement.cover, None, 0.5),
        ({"taper": 0}, Placement.cover, None, 0),
        ({"nms_iou": 0.55}, Placement.nms, 0.55, 0),
        ({"placement": "nms"}, Placement.nms, 0.25, 0),
        ({"placement": "nms", "taper": 0.1}, Placement.nms, 0.25, 0.1),
        ({"compat_2021": True}, Placement.nms, 0.25, 0),
    ],
)
def test_patches_are_placed_and_averaged_as_in_the_paper_where_nms_is_asked_for(settings, placement, nms_iou, tapered):
    spec = PatchSpec(**settings)
    assert (spec.placement, spec.nms_iou, spec.resolved_taper) == (placement, nms_iou, tapered)
    assert replace(spec, size=32).placement is placement


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"placement": Placement.cover, "nms_iou": 0.55}, "patch.nms_iou goes with patch.placement=nms, got cover"),
        ({"placement": "contour", "spacing": 0}, "patch.spacing must be at least 1"),
        ({"spacing": 20}, "patch.spacing goes with patch.placement=contour, got cover"),
        ({"nms_iou": 0.5, "margin": 4}, "patch.margin goes with patch.placement=cover, got nms"),
        ({"placement": Placement.cover, "margin": 32}, r"patch.margin must be in \[0, 32\)"),
        ({"placement": Placement.cover, "margin": -1}, "patch.margin"),
        ({"taper": 0.6}, r"patch.taper must be in \[0, 0.5\]"),
        ({"placement": "nowhere"}, "patch.placement must be one of nms, contour, cover"),
        ({"placement": "contour", "compat_2021": True}, "goes with patch.placement=nms"),
        ({"size": "64"}, "patch.size must be a whole number, got '64'"),
        ({"size": None}, "patch.size must be a whole number, got None"),
        ({"nms_iou": "0.5"}, "patch.nms_iou must be a number, got '0.5'"),
        ({"compat_2021": "no"}, "patch.compat_2021 must be True or False, got 'no'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PatchSpec(**settings)
