"""Simulated coarse masks: ground truth degraded the way instance segmenters and people degrade it.

For training where no segmenter's own output on the training images is at hand, and for the demo. The default
`SimulationSpec` is calibrated on YOLOv5n-seg and YOLOv8n-seg: of the masks with an IoU above 0.5, the median
IoU is within 4 points of theirs for medium and large objects and within 7 for small ones, between COCO (whose
polygons add errors of their own) and pixel-exact pedestrians.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from bpr.patches.windows import bounding_box, working_window
from bpr.structures import Mask, SettingError, Size, Window
from bpr.synthetic.distortions import (
    blob,
    closed,
    displaced,
    distance_to,
    keep_foreground,
    polygon_mask,
    signed_distance,
    without_thin_parts,
)

HEAD_SIDE = 28
"""Cells along each side of the box in Mask R-CNN's mask head (He et al., 2017, section 3)."""
NETWORK_SIDE = 640
"""Longer side of the letterboxed image in one-stage segmenters, px."""
PROTOTYPE_STRIDE = 4
"""Network px per cell of a prototype mask (Bolya et al., YOLACT, 2019, section 3.1)."""


@dataclass(frozen=True, slots=True)
class SimulationSpec:
    """What kinds of masks there are, and how often each kind of error occurs.

    The first five are shares of all masks; the rest of the masks are those of a segmenter, to which all other
    attributes but `part_error` apply, each drawn on its own (`box_head` and `prototypes` exclude each other).

    Attributes:
        exact: The truth itself.
        near: Within about a pixel of the truth: shifted, a little too large or too small, or wandering about it.
        polygon: Drawn by hand: the outline thinned (Douglas & Peucker, 1973), its vertices shaken.
        smooth: Without detail, as of a promptable segmenter (Kirillov et al., Segment Anything, 2023).
        parts: Exact but for parts that are missing or too much, up to half as large as the object.
        part_error: Of the near, polygon and smooth masks, the share that also has parts missing or too much.
        box_head: A 28 x 28 mask pasted into the predicted box (Mask R-CNN).
        prototypes: A mask at a quarter of the network's resolution, cut to the box (YOLO-seg, YOLACT).
        displacement: The boundary wanders smoothly about the true one.
        offset: The mask is everywhere too large or too small, by up to 3 px.
        thin_parts: What is thinner than a share of the body is lost.
        missing_part: A rounded piece at the boundary is missing.
        extra_part: A rounded piece of background is added at the boundary.
        spill: The mask extends into an object that it touches.
        severity: Factor on the size of all errors; > 0. It also varies from mask to mask.

    Raises:
        SettingError: If a value is out of its range.
    """

    exact: float = 0.0
    near: float = 0.0
    polygon: float = 0.0
    smooth: float = 0.0
    parts: float = 0.0
    part_error: float = 0.25
    box_head: float = 0.3
    prototypes: float = 0.6
    displacement: float = 0.9
    offset: float = 0.6
    thin_parts: float = 0.3
    missing_part: float = 0.4
    extra_part: float = 0.3
    spill: float = 0.3
    severity: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "severity" and not 0 <= value <= 1:
                raise SettingError(f"data.simulation.{field.name} is a probability, in [0, 1], got {value}")
        for exclusive in (("box_head", "prototypes"), ("exact", "near", "polygon", "smooth", "parts")):
            total = sum(getattr(self, name) for name in exclusive)
            if total > 1 + 1e-9:
                raise SettingError(
                    f"{' + '.join(f'data.simulation.{name}' for name in exclusive)} must be at most 1, got {total:g}"
                )
        if not 0 < self.severity < np.inf:
            raise SettingError(f"data.simulation.severity must be above 0, got {self.severity}")


def simulate_coarse(true: Mask, others: Mask, rng: np.random.Generator, spec: SimulationSpec | None = None) -> Mask:
    """A mask such as a segmenter might predict for an object, or a person draw.

    Only the bounding box of the object, grown by a margin, is worked on. The border of the array counts as
    the border of the image: nothing is eroded there.

    Args:
        true: (h, w) bool, the visible mask of the object; not modified.
        others: (h, w) bool, union of the other objects, into which the mask may spill; not modified.
        rng: Source of all chance.
        spec: Which errors occur, and how often; the defaults of `SimulationSpec` by default.

    Returns:
        (h, w) bool; empty exactly if ``true`` is: an error that would leave nothing is left out. The IoU with
        ``true`` has no lower bound.

    Raises:
        ValueError: If the masks are not of one size.
    """
    if true.shape != others.shape:
        raise ValueError(f"true is {true.shape} and others is {others.shape}; they must have the same (h, w)")
    coarse = np.zeros(true.shape, np.bool_)
    if not true.any():
        return coarse
    spec = SimulationSpec() if spec is None else spec
    box = bounding_box(true)
    x1, y1, x2, y2 = working_window(box, true.shape, 8 + max(box[2] - box[0], box[3] - box[1]) // 4)
    inside = np.s_[y1:y2, x1:x2]
    body = np.ascontiguousarray(true[inside])
    unit = max(true.shape) / NETWORK_SIDE  # image px per network px
    kinds = {"exact": spec.exact, "near": spec.near, "polygon": spec.polygon, "smooth": spec.smooth}
    kinds["parts"] = spec.parts
    drawn = rng.random() if any(kinds.values()) else 1.0
    for kind, share in kinds.items():
        if drawn < share:
            coarse[inside] = _drawn_mask(kind, body, others[inside] & ~body, spec, rng)
            return coarse
        drawn -= share
    coarse[inside] = _segmenter_mask(body, others[inside] & ~body, unit, spec, rng)
    return coarse


def _segmenter_mask(body: Mask, others: Mask, unit: float, spec: SimulationSpec, rng: np.random.Generator) -> Mask:
    """As an instance segmenter predicts it; ``unit`` is the image px per px of its network."""
    severity = spec.severity * float(np.exp(rng.normal(-0.35, 0.7)))
    mask = _wrong_parts(body, others, severity, spec, rng)
    mask = _wrong_boundary(mask, unit, severity, spec, rng)
    box = _jittered(bounding_box(body), unit, severity, rng)
    return _coarse_grid(mask, box, PROTOTYPE_STRIDE * unit, spec, rng)


def _drawn_mask(kind: str, body: Mask, others: Mask, spec: SimulationSpec, rng: np.random.Generator) -> Mask:
    """One of the kinds of masks that no segmenter's grid has gone over."""
    scale = float(np.sqrt(body.sum()))
    mask = body
    if kind == "parts" or (kind != "exact" and rng.random() < spec.part_error):
        mask = _parts_off(mask, others, scale, rng)
    if kind == "near":
        mask = _near(mask, rng)
    elif kind == "polygon":
        tolerance = max(0.5, scale * rng.uniform(0.004, 0.03))
        mask = polygon_mask(mask, tolerance, min(2.0, scale * rng.uniform(0, 0.01)), rng)
        if rng.random() < 0.5:  # some people click outside of the edge, some inside
            mask = keep_foreground(signed_distance(mask) > rng.uniform(-1.5, 1.0), mask)
    elif kind == "smooth":
        deviation = max(0.7, scale * rng.uniform(0.005, 0.04))
        blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
        mask = keep_foreground(np.asarray(blurred > rng.uniform(0.4, 0.6)), mask)
    return keep_foreground(mask, body)


def _near(mask: Mask, rng: np.random.Generator) -> Mask:
    """Shifted by a pixel, grown or shrunk by about one, or wandering by less than one."""
    how = rng.integers(3)
    if how == 0:
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))[rng.integers(8)]
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        size = (mask.shape[1], mask.shape[0])
        return cv2.warpAffine(mask.view(np.uint8), move, size, borderMode=cv2.BORDER_REPLICATE).view(np.bool_)
    if how == 1:
        return keep_foreground(signed_distance(mask) > rng.choice((-1.2, -0.7, 0.7, 1.2)), mask)
    return keep_foreground(displaced(mask, rng.uniform(0.3, 1.0), rng), mask)


def _parts_off(mask: Mask, others: Mask, scale: float, rng: np.random.Generator) -> Mask:
    """One to three parts missing or too much: cut off, filled, or taken from a neighbour."""
    for _ in range(rng.integers(1, 4)):
        how = rng.integers(4)
        radius = scale * rng.uniform(0.05, 0.35)
        if how == 0:
            mask = keep_foreground(mask & ~blob(mask, radius, rng), mask)
        elif how == 1:
            mask = mask | blob(mask, radius, rng)
        elif how == 2:
            mask = mask | (others & blob(mask, 2 * radius, rng)) if others.any() else closed(mask, 0.4 * radius)
        else:
            mask = keep_foreground(without_thin_parts(mask, rng.uniform(0.15, 0.5)), mask)
    return mask


def _wrong_parts(body: Mask, others: Mask, severity: float, spec: SimulationSpec, rng: np.random.Generator) -> Mask:
    scale = float(np.sqrt(body.sum()))
    mask = body
    if rng.random() < spec.thin_parts:
        mask = keep_foreground(without_thin_parts(mask, rng.uniform(0.1, 0.4)), mask)
    if rng.random() < spec.missing_part:
        mask = keep_foreground(mask & ~blob(mask, severity * scale * rng.uniform(0.05, 0.3), rng), mask)
    if rng.random() < spec.extra_part:
        mask = mask | blob(mask, severity * scale * rng.uniform(0.05, 0.25), rng)
    if rng.random() < spec.spill and others.any():
        mask = mask | (others & (distance_to(body) <= severity * scale * rng.uniform(0.02, 0.3)))
    return mask


def _wrong_boundary(mask: Mask, unit: float, severity: float, spec: SimulationSpec, rng: np.random.Generator) -> Mask:
    scale = float(np.sqrt(mask.sum()))
    if rng.random() < spec.displacement:
        mask = keep_foreground(displaced(mask, severity * (4.5 * unit + 0.008 * scale), rng), mask)
    if rng.random() < spec.offset:
        largest = min(3.0 * unit, severity * (2.5 * unit + 0.005 * scale))
        mask = keep_foreground(signed_distance(mask) > -rng.uniform(-0.4, 1.0) * largest, mask)
    return mask


def _coarse_grid(mask: Mask, box: Window, cell: float, spec: SimulationSpec, rng: np.random.Generator) -> Mask:
    """The mask as a mask head sees it: on a coarse grid, uncertain, and cut off at the box."""
    x1, y1, x2, y2 = box
    kind = rng.random()
    inside = np.s_[y1:y2, x1:x2]
    result = np.zeros_like(mask)
    if kind < spec.box_head:
        result[inside] = _through_grid(mask[inside], (HEAD_SIDE, HEAD_SIDE), rng)
    elif kind < spec.box_head + spec.prototypes:
        grid = (max(1, round(mask.shape[0] / cell)), max(1, round(mask.shape[1] / cell)))
        result[inside] = _through_grid(mask, grid, rng)[inside]
    else:
        return mask
    return keep_foreground(result, mask)


def _through_grid(mask: Mask, grid: Size, rng: np.random.Generator) -> Mask:
    """Down to ``grid`` cells (rows, columns) by area, blurred and disturbed as logits, bilinearly back."""
    share = cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
    share = cv2.GaussianBlur(share, (0, 0), rng.uniform(0.3, 1.0), borderType=cv2.BORDER_REPLICATE)
    share = np.clip(share, 0.02, 0.98)
    noise = cv2.GaussianBlur(rng.standard_normal(grid).astype(np.float32), (0, 0), 1.0)
    logits = np.log(share / (1 - share)) + 2.0 * noise + rng.uniform(-0.4, 2.2)
    size = (mask.shape[1], mask.shape[0])
    return np.asarray(cv2.resize(logits.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0)


def _jittered(box: Window, unit: float, severity: float, rng: np.random.Generator) -> Window:
    """The box that a detector might predict: each side moved a little, at least 1 px large, first px >= 0."""
    x1, y1, x2, y2 = box
    moved = severity * rng.normal(0, 1, 4) * np.tile([unit + 0.012 * (x2 - x1), unit + 0.012 * (y2 - y1)], 2)
    left, top, right, bottom = (int(v) for v in np.rint(np.asarray(box) + moved))
    left, top = min(max(left, 0), x2 - 1), min(max(top, 0), y2 - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)
