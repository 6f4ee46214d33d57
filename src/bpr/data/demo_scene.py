"""Pictures of the demo: objects with known masks, composited onto photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.data.demo_shapes import SHAPES, Coverage
from bpr.structures import Image, Mask, Size

_Canvas = NDArray[np.float32]
"""(h, w, 3) float32 in 0..255, RGB."""

SMALLEST, LARGEST = 34.0, 260.0
"""Diameters of the objects, px; they can be larger by a half."""
MIN_VISIBLE = 0.45
"""Share of an object that later ones must leave visible."""
MAX_COVER = 0.5
"""Share of an object that may lie on earlier ones."""
MIN_AREA = 200
"""Visible pixels of an object, at least."""
MIN_CONTRAST = 45.0
"""Distance in CIE Lab (8-bit scale) between the mean colours of an object and of what surrounds it."""
MAX_SATURATION = 165
"""Of recoloured photographs, 0..255: neon colours would make the task too easy."""


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
    """Put ``count`` random objects one after the other on a crop of ``background``.

    Later ones, which are smaller, hide earlier ones. A pixel belongs to an object that covers half of it or
    more. An object that finds no free place in 30 attempts is left out.

    Args:
        background: (h, w, 3) uint8, any size.
        textures: Photographs, (h, w, 3) uint8, that the objects are cut from.
        size: (h, w) of the picture, px.
        count: Number of objects.
        rng: Source of all chance.
    """
    backdrop = _recoloured(_crop(background, size, 1.0, rng), int(rng.integers(-12, 13)), rng)
    canvas = backdrop.astype(np.float32)
    light = rng.uniform(0, 2 * np.pi)
    masks: list[Mask] = []
    categories: list[int] = []
    diameters = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST), count))
    for diameter in sorted(diameters, reverse=True):
        category = int(rng.integers(1, len(SHAPES) + 1))
        placed = _placed(category, float(diameter), masks, size, rng)
        if placed is None:
            continue
        canvas = _painted(canvas, placed, textures, light, rng)
        masks = [mask & (placed < 0.5) for mask in masks] + [placed >= 0.5]
        categories.append(category)
    noise = cv2.GaussianBlur(rng.normal(0, 4, canvas.shape).astype(np.float32), (0, 0), 0.6)
    image = np.clip(cv2.GaussianBlur(canvas, (0, 0), 0.5) + noise, 0, 255).astype(np.uint8)
    return Scene(image, tuple(masks), tuple(categories))


def _placed(
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


def _painted(
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
    """A recoloured crop of a photograph: of eight, one whose mean colour stands out from the surroundings."""
    size = alpha.shape
    body = alpha >= 0.5
    around = (cv2.dilate(alpha, np.ones((15, 15), np.uint8)) >= 0.5) & ~body
    outer = _mean_lab(under, around if around.any() else ~body)
    best, best_contrast = under, -1.0
    for _ in range(8):
        photograph = textures[int(rng.integers(len(textures)))]
        crop = _crop(photograph, (size[0], size[1]), rng.uniform(0.4, 0.8), rng)
        texture = _recoloured(crop, int(rng.integers(0, 256)), rng).astype(np.float32)
        contrast = float(np.linalg.norm(_mean_lab(texture, body) - outer))
        if contrast > best_contrast:
            best, best_contrast = texture, contrast
        if contrast >= MIN_CONTRAST:
            break
    return best


def _mean_lab(canvas: _Canvas, where: Mask) -> NDArray[np.float64]:
    mean = np.clip(canvas[where].mean(axis=0), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(mean[None, None], cv2.COLOR_RGB2LAB)[0, 0], np.float64)


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


def _recoloured(image: Image, hue: int, rng: np.random.Generator) -> Image:
    """The image with its hue turned by ``hue`` / 256 of a circle and another saturation and brightness.

    Grey photographs get a tint.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL).astype(np.int16)
    if hsv[..., 1].max() < 10:
        hsv[..., 0], hsv[..., 1] = int(rng.integers(256)), int(rng.integers(40, 130))
    hsv[..., 0] = (hsv[..., 0] + hue) % 256
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.8, 1.3), 0, MAX_SATURATION)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.75, 1.15) + rng.uniform(0, 25), 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB_FULL), np.uint8)
