"""Outlines of masks on pictures, and PNG files that are known as ours."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFilter, PngImagePlugin

from bpr.formats.files import replacing
from bpr.structures import Mask

COLOURS: Final = {"coarse": (255, 150, 0), "refined": (0, 220, 255), "ground truth": (255, 80, 220)}
"""RGB of the outlines; they differ in lightness too, for those who do not tell the colours apart."""
SOFTWARE: Final = "bpr"
"""Written into the files: how `bpr.formats.protection` knows them."""


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


def write_png(picture: PillowImage.Image, path: Path) -> None:
    """Write a PNG file that `bpr.formats.protection.is_own` recognises; an older ``path`` is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", SOFTWARE)
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG", optimize=True, pnginfo=info)
