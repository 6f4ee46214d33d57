"""Masks with an error of known kind and size, made from the truth; without chance.

All are functions of (h, w) bool masks that leave their argument alone. The border of the array counts as that of the
image: nothing is eroded there, and what is moved beyond it is lost.
"""

import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr.structures import Mask
from bpr.synthetic.distortions import polygon_mask

CLICKED: Final = 0.0175
"""How far a clicked outline strays from the true one, as a share of the square root of the object's area."""


def shifted(mask: Mask, pixels: int) -> Mask:
    """The mask moved to the right by ``pixels`` px, >= 0; empty if nothing of it is left in the image."""
    moved = np.zeros_like(mask)
    moved[:, pixels:] = mask[:, : max(mask.shape[1] - pixels, 0)]
    return moved


def dilated(mask: Mask, pixels: int) -> Mask:
    """The mask grown by ``pixels`` px, >= 0: dilated by OpenCV's ellipse of 2 ``pixels`` + 1 px, near enough a disc."""
    return np.asarray(cv2.dilate(mask.view(np.uint8), _disc(pixels)) > 0)


def eroded(mask: Mask, pixels: int) -> Mask:
    """The mask shrunk by ``pixels`` px, >= 0, by the disc of `dilated`; empty if it is nowhere that thick."""
    return np.asarray(cv2.erode(mask.view(np.uint8), _disc(pixels)) > 0)


def clicked(mask: Mask) -> Mask:
    """The mask as drawn with few clicks: each outline, those of holes too, thinned to a polygon and filled again.

    Thinned by Douglas and Peucker's algorithm (Cartographica 10, 1973), with a tolerance of `CLICKED` times the square
    root of the area, and of 1 px at least. Empty exactly if ``mask`` is.
    """
    return polygon_mask(mask, max(1.0, CLICKED * math.sqrt(mask.sum())))


KNOWN_ERRORS: Final[dict[str, Callable[[Mask], Mask]]] = {
    "truth": np.copy,
    "shifted 1 px": lambda mask: shifted(mask, 1),
    "dilated 1 px": lambda mask: dilated(mask, 1),
    "dilated 2 px": lambda mask: dilated(mask, 2),
    "eroded 2 px": lambda mask: eroded(mask, 2),
    "dilated 5 px": lambda mask: dilated(mask, 5),
    "polygon": clicked,
}
"""By name: what each makes of a true mask."""


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
