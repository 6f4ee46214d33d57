"""Pictures of one instance: its surroundings, and outlines drawn on them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from bpr import rle as rle_codec
from bpr.data.images import read_image
from bpr.evaluation.boundary_f import inner_boundary
from bpr.patches.windows import working_window
from bpr.report.changes import InstanceChange
from bpr.structures import Image, Mask, Rle, Size, Window

COLOURS: Final = {"coarse": (255, 150, 0), "refined": (0, 220, 255), "ground truth": (255, 80, 220)}
"""RGB of the outlines; they differ in lightness too, for those who do not tell the colours apart."""
_SIDE: Final = 280  # px, longer side of a picture
_MAX_ZOOM: Final = 8
_MARGIN: Final = 0.12  # of the longer side of the instance
_JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture as a ``data:`` URI; ``size`` is its (h, w), px; ``empty`` says that it has no outline to show."""

    title: str
    uri: str
    size: Size
    empty: bool = False


def panels_of(changes: Sequence[InstanceChange]) -> list[list[Panel]]:
    """The pictures of each instance: image, coarse, refined and, where it is known, true outline.

    Each image is decoded once, and one image at a time is in memory.

    Raises:
        bpr.formats.errors.FormatError: If an image cannot be decoded.
    """
    panels: list[list[Panel]] = [[] for _ in changes]
    by_image: dict[int | str, list[int]] = {}
    for number, change in enumerate(changes):
        by_image.setdefault(change.record.image_id, []).append(number)
    for numbers in by_image.values():
        record = changes[numbers[0]].record
        pixels = read_image(record.path, record.size, record.exif)
        for number in numbers:
            panels[number] = draw_panels(pixels, changes[number])
    return panels


def draw_panels(pixels: Image, change: InstanceChange) -> list[Panel]:
    """The pictures of one instance.

    Args:
        pixels: (h, w, 3), the whole image.
        change: An instance in it.
    """
    masks = {"coarse": change.coarse.rle, "refined": change.refined}
    if change.judgement is not None:
        masks["ground truth"] = change.judgement.true
    window = crop_window(list(masks.values()), change.record.size)
    x1, y1, x2, y2 = window
    zoom = min(_SIDE / max(x2 - x1, y2 - y1), _MAX_ZOOM)
    size = (max(round(zoom * (y2 - y1)), 1), max(round(zoom * (x2 - x1)), 1))
    view = _resized(pixels[y1:y2, x1:x2], size, cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)
    panels = [_panel("image", view)]
    for title, rle in masks.items():
        mask = rle_codec.decode(rle, window)
        panels.append(_panel(title, outline(view, mask, COLOURS[title]), empty=not mask.any()))
    return panels


def crop_window(masks: Sequence[Rle], size: Size) -> Window:
    """The part of the image with all ``masks`` and some of what is around them; all of it if they are empty."""
    x1, y1, x2, y2 = rle_codec.common_box(masks)
    if x1 == x2:
        return (0, 0, size[1], size[0])
    return working_window((x1, y1, x2, y2), size, max(round(_MARGIN * max(x2 - x1, y2 - y1)), 6))


def outline(view: Image, mask: Mask, colour: tuple[int, int, int]) -> Image:
    """A copy of ``view`` with the outline of a mask, which is stretched to its size; it has a thin dark rim."""
    stretched = _resized(mask.view(np.uint8), (view.shape[0], view.shape[1]), cv2.INTER_NEAREST)
    edge = inner_boundary(stretched > 0).astype(np.uint8)
    line = cv2.dilate(edge, np.ones((2, 2), np.uint8))
    rim = cv2.dilate(line, np.ones((3, 3), np.uint8))
    drawn = view.copy()
    drawn[rim > 0] = drawn[rim > 0] // 3
    drawn[line > 0] = colour
    return drawn


def _resized(array: NDArray[np.uint8], size: Size, interpolation: int) -> Image:
    return np.asarray(cv2.resize(np.ascontiguousarray(array), size[::-1], interpolation=interpolation), np.uint8)


def _panel(title: str, pixels: Image, empty: bool = False) -> Panel:
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Panel(title, uri, (pixels.shape[0], pixels.shape[1]), empty)
