"""Pictures of the demo: objects with known masks, composited onto photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.structures import Image, Mask, Size
from bpr.synthetic.shapes import SHAPES, Coverage

_Canvas = NDArray[np.float32]
"""(h, w, 3) float32 in 0..255, RGB."""

SMALLEST, LARGEST = 32.0, 260.0
"""Diameters of the objects, px; they can be larger by a half."""
SMALLEST_OF = {1: SMALLEST, 2: 80.0, 3: 56.0}
"""The same by category: limbs and holes narrower than about 4 px are no work for a segmenter at 640 px."""
MIN_VISIBLE = 0.45
"""Share of an object that later ones must leave visible."""
MAX_COVER = 0.5
"""Share of an object that may lie on earlier ones."""
MIN_AREA = 200
"""Visible pixels of an object, at least."""
MIN_CONTRAST = 45.0
"""Distance in CIE Lab (8-bit scale) between the mean colours of an object and of what surrounds it."""
MIN_RIM_CONTRAST = 20.0
"""The same between both sides of the boundary, along nine tenths of it, each side smoothed over 9 px."""
MAX_SATURATION = 165
"""Of recoloured photographs, 0..255: neon colours would make the task too easy."""
_NATURAL_HUES = ((8, 20), (20, 34), (48, 80))
"""Of grey photographs, in 256ths of a circle: clay, sand and wood, leaves."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and its objects.

    Attributes:
        image: (h, w, 3) uint8, RGB.
        masks: (h, w) bool each, what is visible of each object; disjoint.
        categories: Category id of each object.
    """

    image: Image
    masks: tuple[Mask, ...]
    categories: tuple[int, ...]


def compose_scene(
    background: Image, textures: Sequence[Image], size: Size, count: int, rng: np.random.Generator
) -> Scene:
    """Put ``count`` random objects one after the other on a crop of ``background``, ``size`` (h, w) px.

    Later ones, which are smaller, hide earlier ones. A pixel belongs to an object that covers half of it or
    more. An object that finds no free place in 30 attempts is left out. Objects are cut from ``textures``; these and
    the background are photographs, (h, w, 3) uint8.
    """
    backdrop = _recolour(_crop(background, size, 1.0, rng), int(rng.integers(-12, 13)), rng)
    canvas = backdrop.astype(np.float32)
    light = rng.uniform(0, 2 * np.pi)
    masks: list[Mask] = []
    categories: list[int] = []
    diameters = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST), count))
    for diameter in sorted(diameters, reverse=True):
        category = int(rng.choice([number for number, smallest in SMALLEST_OF.items() if diameter >= smallest]))
        placed = _place(category, float(diameter), masks, size, rng)
        if placed is None:
            continue
        canvas = _paint(canvas, placed, textures, light, rng)
        masks = [mask & (placed < 0.5) for mask in masks] + [placed >= 0.5]
        categories.append(category)
    noise = cv2.GaussianBlur(rng.normal(0, 4, canvas.shape).astype(np.float32), (0, 0), 0.6)
    image = np.clip(cv2.GaussianBlur(canvas, (0, 0), 0.5) + noise, 0, 255).astype(np.uint8)
    return Scene(image, tuple(masks), tuple(categories))


def _place(
    category: int, diameter: float, masks: Sequence[Mask], size: Size, rng: np.random.Generator
) -> Coverage | None:
    """Coverage, (h, w), of a new object that leaves enough of itself and of the earlier ones visible."""
    areas = [int(mask.sum()) for mask in masks]
    for _ in range(30):
        shape = SHAPES[category][1](diameter, rng)
        x, y = (int(v) for v in rng.uniform(0.04, 0.96, 2) * size[::-1] - len(shape) / 2)
        layer = _shifted(shape, x, y, size)
        body = layer >= 0.5
        if body.sum() < max(MIN_AREA, 0.6 * (shape >= 0.5).sum()):
            continue
        if masks and (body & np.any(masks, axis=0)).sum() > MAX_COVER * body.sum():
            continue
        left = [int((mask & ~body).sum()) for mask in masks]
        if all(now >= max(MIN_AREA, MIN_VISIBLE * area) for now, area in zip(left, areas, strict=True)):
            return layer
    return None


def _shifted(shape: Coverage, x: int, y: int, size: Size) -> Coverage:
    """``shape`` with its first pixel at ``x``, ``y`` of an image of ``size``; cut off at the border."""
    layer = np.zeros(size, np.float32)
    side = len(shape)
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + side, size[1]), min(y + side, size[0])
    layer[y1:y2, x1:x2] = shape[y1 - y : y2 - y, x1 - x : x2 - x]
    return layer


def _paint(
    canvas: _Canvas, layer: Coverage, textures: Sequence[Image], light: float, rng: np.random.Generator
) -> _Canvas:
    """The canvas with an object on it: its shadow, then its shaded texture, blended by coverage."""
    height, width = layer.shape
    rows, columns = np.nonzero(layer)
    margin = 24
    x1, y1 = max(int(columns.min()) - margin, 0), max(int(rows.min()) - margin, 0)
    x2, y2 = min(int(columns.max()) + margin, width), min(int(rows.max()) + margin, height)
    inside = np.s_[y1:y2, x1:x2]
    alpha = layer[inside]
    under = canvas[inside]
    texture = _texture(under, alpha, textures, rng) * _shading(alpha, light)[..., None]
    shift = np.array([[1, 0, -5 * np.cos(light)], [0, 1, -5 * np.sin(light)]])
    shadow = cv2.warpAffine(alpha, shift, (x2 - x1, y2 - y1), borderMode=cv2.BORDER_REPLICATE)
    shadow = np.asarray(cv2.GaussianBlur(shadow, (0, 0), 5), np.float32)[..., None]
    painted = canvas.copy()
    painted[inside] = under * (1 - 0.4 * shadow) * (1 - alpha[..., None]) + texture * alpha[..., None]
    return painted


def _texture(under: _Canvas, alpha: Coverage, textures: Sequence[Image], rng: np.random.Generator) -> _Canvas:
    """A recoloured crop of a photograph: of sixteen, one that stands out from what is around it."""
    size = alpha.shape
    best, best_margin = under, -np.inf
    for _ in range(16):
        photograph = textures[int(rng.integers(len(textures)))]
        crop = _crop(photograph, (size[0], size[1]), rng.uniform(0.4, 0.8), rng)
        texture = _recolour(crop, int(rng.integers(0, 256)), rng).astype(np.float32)
        overall, rim = contrasts(texture, under, alpha >= 0.5)
        margin = min(overall / MIN_CONTRAST, rim / MIN_RIM_CONTRAST)
        if margin > best_margin:
            best, best_margin = texture, margin
        if margin >= 1:
            break
    return best


def contrasts(inner: _Canvas, outer: _Canvas, body: Mask) -> tuple[float, float]:
    """How much an object stands out from what is around it, as distances in CIE Lab (8-bit scale).

    ``inner`` is the object's texture, ``outer`` what it is put on, both (h, w, 3) in 0..255; ``body`` is the object,
    (h, w) bool, neither empty nor everything.

    Returns:
        Between the mean colours of the object and of its surroundings, and the tenth percentile of the
        distances across the boundary, each side smoothed over 9 px.
    """
    around = (cv2.dilate(body.view(np.uint8), np.ones((15, 15), np.uint8)) > 0) & ~body
    colours = [_lab(canvas[where].mean(axis=0)[None]) for canvas, where in ((inner, body), (outer, around))]
    rim = body & (cv2.erode(body.view(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    sides = [_lab(_smoothed_within(canvas, where)[rim]) for canvas, where in ((inner, body), (outer, ~body))]
    across = np.linalg.norm(sides[0] - sides[1], axis=1)
    return float(np.linalg.norm(colours[0] - colours[1])), float(np.percentile(across, 10))


def _smoothed_within(canvas: _Canvas, where: Mask) -> _Canvas:
    """Mean over 9 x 9 px of the pixels that are in ``where``; 0 where none is."""
    weight = where.astype(np.float32)[..., None]
    total = cv2.blur(canvas * weight, (9, 9))
    return np.asarray(total / np.maximum(cv2.blur(weight, (9, 9)), 1e-6)[..., None], np.float32)


def _lab(colours: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(n, 3) RGB in 0..255 as CIE Lab on the 8-bit scale."""
    rgb = np.clip(colours, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(rgb[:, None], cv2.COLOR_RGB2LAB)[:, 0], np.float64)


def _shading(alpha: Coverage, light: float) -> Coverage:
    """Brightness, about 0.7 to 1.2: lighter towards the light, darker at the rim, as on a round body."""
    depth = cv2.distanceTransform((alpha >= 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = cv2.GaussianBlur(np.sqrt(depth / max(float(depth.max()), 1.0)), (0, 0), 1.5)
    rows, columns = np.mgrid[-1 : 1 : alpha.shape[0] * 1j, -1 : 1 : alpha.shape[1] * 1j]
    slope = 0.15 * (columns * np.cos(light) + rows * np.sin(light))
    return np.asarray(0.8 + 0.25 * depth + slope, np.float32)


def _crop(photograph: Image, size: Size, share: float, rng: np.random.Generator) -> Image:
    """A random crop with the aspect of ``size``, as large as ``share`` of the largest, scaled to ``size``."""
    height, width = photograph.shape[:2]
    scale = share * min(height / size[0], width / size[1]) * rng.uniform(0.85, 1)
    rows, columns = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    crop = photograph[y : y + rows, x : x + columns]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    kind = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), size[::-1], interpolation=kind), np.uint8)


def _recolour(image: Image, hue: int, rng: np.random.Generator) -> Image:
    """The image with its hue turned by ``hue`` / 256 of a circle and another saturation and brightness.

    Grey photographs are tinted as stone, earth, wood or leaves are; their hue is not turned.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL).astype(np.int16)
    if hsv[..., 1].max() < 10:
        hsv[..., 0] = int(rng.integers(*_NATURAL_HUES[int(rng.integers(len(_NATURAL_HUES)))]))
        hsv[..., 1] = int(rng.integers(40, 110))
    else:
        hsv[..., 0] = (hsv[..., 0] + hue) % 256
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.8, 1.3), 0, MAX_SATURATION)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.75, 1.15) + rng.uniform(0, 25), 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB_FULL), np.uint8)
