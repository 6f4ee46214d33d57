"""Pictures of one instance: its surroundings, and its outlines drawn on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image as PillowImage

from bpr import rle as rle_codec
from bpr.data.images import read_image
from bpr.drawing import COLOURS, outline
from bpr.patches.windows import working_window
from bpr.report.changes import InstanceChange
from bpr.structures import Image, Rle, Size, Window

SIDE: Final = 340
"""Longer side of a picture, px."""
_MAX_ZOOM: Final = 8
_MARGIN: Final = 0.12  # of the longer side of the instance


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture, RGB; ``empty`` says that it has no outline to show."""

    title: str
    picture: PillowImage.Image
    empty: bool = False


def panels_of(changes: Sequence[InstanceChange], side: int = SIDE) -> list[list[Panel]]:
    """The pictures of each instance: image, coarse, refined and, where it is known, true outline.

    Each image is decoded once, and one image at a time is in memory. Their longer side is ``side`` px; small instances
    are not magnified that far.
    """
    panels: list[list[Panel]] = [[] for _ in changes]
    by_image: dict[int | str, list[int]] = {}
    for number, change in enumerate(changes):
        by_image.setdefault(change.record.image_id, []).append(number)
    for numbers in by_image.values():
        record = changes[numbers[0]].record
        pixels = read_image(record.path, record.size, record.exif)
        for number in numbers:
            panels[number] = _draw_panels(pixels, changes[number], side)
    return panels


def _draw_panels(pixels: Image, change: InstanceChange, side: int) -> list[Panel]:
    masks = {"coarse": change.coarse.rle, "refined": change.refined}
    if change.match is not None:
        masks["ground truth"] = change.match.true
    window = crop_window(list(masks.values()), change.record.size)
    x1, y1, x2, y2 = window
    zoom = min(side / max(x2 - x1, y2 - y1), _MAX_ZOOM)
    size = (max(round(zoom * (x2 - x1)), 1), max(round(zoom * (y2 - y1)), 1))
    view = PillowImage.fromarray(pixels[y1:y2, x1:x2]).resize(size, PillowImage.Resampling.BICUBIC)
    panels = [Panel("image", view)]
    for title, rle in masks.items():
        mask = rle_codec.decode(rle, window)
        panels.append(Panel(title, outline(view, mask, COLOURS[title]), empty=not mask.any()))
    return panels


def crop_window(masks: Sequence[Rle], size: Size) -> Window:
    """The part of the image with all ``masks`` and some of what is around them; all of it if they are empty."""
    x1, y1, x2, y2 = rle_codec.common_box(masks)
    if x1 == x2:
        return (0, 0, size[1], size[0])
    return working_window((x1, y1, x2, y2), size, max(round(_MARGIN * max(x2 - x1, y2 - y1)), 6))
