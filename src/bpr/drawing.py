"""Outlines of masks on pictures, and PNG files that are known as ours."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFilter, PngImagePlugin

from bpr import rle as rle_codec
from bpr.formats.files import replacing
from bpr.structures import Mask, Rle

COLOURS: Final = {"coarse": (255, 150, 0), "refined": (0, 220, 255), "ground truth": (255, 80, 220)}
"""RGB of the outlines; they differ in lightness too, for those who do not tell the colours apart."""
SOFTWARE: Final = "bpr"
"""Written into the files: how `bpr.formats.protection` knows them."""
_RIM: Final = 3
"""px of a picture that an outline needs beside its mask."""


def outline(view: PillowImage.Image, mask: Mask, colour: tuple[int, int, int]) -> PillowImage.Image:
    """A copy of ``view`` with a line of 2 px just inside a mask, which is stretched to it, and a dark rim around."""
    body = PillowImage.fromarray(mask).convert("L").resize(view.size, PillowImage.Resampling.NEAREST)
    inside = np.asarray(body) > 0
    line = inside & (np.asarray(body.filter(ImageFilter.MinFilter(5))) == 0)
    rim = np.asarray(PillowImage.fromarray(line).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
    drawn = np.array(view)
    drawn[rim] //= 3
    drawn[line] = colour
    return PillowImage.fromarray(drawn)


def outlines(view: PillowImage.Image, masks: Iterable[Rle], colour: tuple[int, int, int]) -> PillowImage.Image:
    """A copy of ``view``, a whole image at any size, with the `outline` of each mask of that image.

    Each is drawn in its own box: many small masks of a large image cost little.
    """
    drawn = view.copy()
    for rle in masks:
        x1, y1, x2, y2 = rle_codec.bounding_box(rle)
        if x1 == x2:
            continue
        height, width = rle["size"]
        (left, columns), (top, rows) = _sampled(x1, x2, width, view.width), _sampled(y1, y2, height, view.height)
        window = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        mask = rle_codec.decode(rle, window)[np.ix_(rows - rows[0], columns - columns[0])]
        around = drawn.crop((left, top, left + len(columns), top + len(rows)))
        drawn.paste(outline(around, mask, colour), (left, top))
    return drawn


def _sampled(first: int, last: int, length: int, shown: int) -> tuple[int, NDArray[np.intp]]:
    """Where an interval of a side of an image begins in its picture, with the rim, and which pixel each one shows."""
    zoom = shown / length
    start, end = max(math.floor(first * zoom) - _RIM, 0), min(math.ceil(last * zoom) + _RIM, shown)
    return start, ((np.arange(start, end) + 0.5) / zoom).astype(np.intp)


def write_png(picture: PillowImage.Image, path: Path) -> None:
    """Write a PNG file that `bpr.formats.protection.is_own` recognises; an older ``path`` is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", SOFTWARE)
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG", optimize=True, pnginfo=info)
