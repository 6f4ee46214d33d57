"""Silhouettes of the demo's objects: random, irregular, with an exact edge."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Coverage = NDArray[np.float32]
"""(h, w) float32 in [0, 1]: the share of each pixel that the object covers."""
_Points = NDArray[np.float64]

SUPERSAMPLING = 8
"""Samples along each side of a pixel."""


def pebble(diameter: float, rng: np.random.Generator) -> Coverage:
    """A compact object of about ``diameter`` px, perhaps larger by a half; every second one has a bite taken out.

    Returns:
        (s, s) float32 in [0, 1], with the object about in the middle and a margin of 2 px or more.
    """
    sheet, radius = _sheet(diameter)
    _fill(sheet, _stretched(_closed_curve(0.5, rng), rng) * radius, 1)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        bite = _closed_curve(0.2, rng) * 0.45 + 0.95 * np.array([np.cos(angle), np.sin(angle)])
        _fill(sheet, bite * radius, 0)
    return _averaged(sheet)


def creature(diameter: float, rng: np.random.Generator) -> Coverage:
    """A body with a head and four to six thin, bent limbs (arguments and result as `pebble`)."""
    sheet, radius = _sheet(diameter)
    _fill(sheet, _stretched(_closed_curve(0.25, rng), rng) * 0.55 * radius, 1)
    count = int(rng.integers(4, 7))
    turn = rng.uniform(0, 2 * np.pi)
    for limb in range(count):
        angle = turn + 2 * np.pi * (limb + rng.uniform(-0.2, 0.2)) / count
        _limb(sheet, angle, radius, rng)
    angle = turn + np.pi / count
    head = _closed_curve(0.15, rng) * 0.27 + 0.6 * np.array([np.cos(angle), np.sin(angle)])
    _fill(sheet, head * radius, 1)
    return _averaged(sheet)


def ring(diameter: float, rng: np.random.Generator) -> Coverage:
    """An object with a large hole, or with two small ones (arguments and result as `pebble`)."""
    sheet, radius = _sheet(diameter)
    _fill(sheet, _closed_curve(0.25, rng) * radius, 1)
    if rng.random() < 0.6:
        _fill(sheet, _closed_curve(0.25, rng) * rng.uniform(0.4, 0.58) * radius, 0)
        return _averaged(sheet)
    angle = rng.uniform(0, 2 * np.pi)
    towards = 0.42 * np.array([np.cos(angle), np.sin(angle)])
    for centre in (towards, -towards):
        _fill(sheet, (_closed_curve(0.25, rng) * rng.uniform(0.2, 0.28) + centre) * radius, 0)
    return _averaged(sheet)


SHAPES: dict[int, tuple[str, Callable[[float, np.random.Generator], Coverage]]] = {
    1: ("pebble", pebble),
    2: ("creature", creature),
    3: ("ring", ring),
}
"""Name and silhouette by category id."""


def _sheet(diameter: float) -> tuple[NDArray[np.uint8], float]:
    """An empty, supersampled square with room for the object, and the object's radius in samples."""
    side = SUPERSAMPLING * (int(np.ceil(1.7 * diameter)) + 4)
    return np.zeros((side, side), np.uint8), SUPERSAMPLING * diameter / 2


def _closed_curve(irregularity: float, rng: np.random.Generator) -> _Points:
    """A smooth closed curve around the origin: radius 1, changed by five harmonics; (360, 2) x, y."""
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    orders = np.arange(2, 7)
    amplitudes = irregularity * rng.normal(0, 0.6, 5) / orders
    waves = amplitudes * np.cos(angles[:, None] * orders + rng.uniform(0, 2 * np.pi, 5))
    radii = np.clip(1 + waves.sum(axis=1), 0.4, 1.5)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _stretched(points: _Points, rng: np.random.Generator) -> _Points:
    """The curve made narrower, by up to a half, in a random direction."""
    angle = rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    return points - np.outer(points @ along, along) * rng.uniform(0, 0.5)


def _limb(sheet: NDArray[np.uint8], angle: float, radius: float, rng: np.random.Generator) -> None:
    """Draw a tapered quadratic Bézier stroke from the middle outwards onto ``sheet``."""
    bent = angle + rng.uniform(-0.7, 0.7)
    middle = 0.75 * np.array([np.cos(angle), np.sin(angle)])
    end = rng.uniform(1.1, 1.5) * np.array([np.cos(bent), np.sin(bent)])
    steps = np.linspace(0, 1, 120)
    path = 2 * np.outer(steps * (1 - steps), middle) + np.outer(steps**2, end)
    half_widths = rng.uniform(0.1, 0.16) * (1 - 0.65 * steps)
    centre = len(sheet) / 2
    for (x, y), half_width in zip(path * radius + centre, half_widths * radius, strict=True):
        cv2.circle(sheet, (round(x), round(y)), max(4, round(half_width)), 1, -1)


def _fill(sheet: NDArray[np.uint8], points: _Points, value: int) -> None:
    cv2.fillPoly(sheet, [np.rint(points + len(sheet) / 2).astype(np.int32)], value)


def _averaged(sheet: NDArray[np.uint8]) -> Coverage:
    side = len(sheet) // SUPERSAMPLING
    share = cv2.resize(255 * sheet, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(share, np.float32) / np.float32(255)
