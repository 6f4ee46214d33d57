"""One image and its masks, as they are given to `bpr.api.refiner.Refiner`."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from bpr.api.arrays import Masks, to_array
from bpr.data.images import as_rgb, image_sizes, read_image
from bpr.structures import ExifUse, Image, Size


def read_pair(image: Any, masks_of: Callable[[Size], Masks]) -> tuple[Image, Masks]:
    """(h, w, 3) uint8 RGB of an image in memory or a path, and its masks.

    An image file is turned as its EXIF orientation says, unless the masks only have the size of the image as it is
    stored.

    Args:
        image: As of `Refiner.__call__`.
        masks_of: Gives the masks, for an image of a size (h, w); `ValueError` if they have another.

    Raises:
        bpr.formats.errors.FormatError: If an image file is missing or damaged; a `ValueError`.
        TypeError, ValueError: If the image or the masks are none, or do not fit together.
    """
    if not isinstance(image, str | PathLike):
        pixels = as_rgb(to_array(image) if isinstance(image, torch.Tensor) else image)
        return pixels, masks_of(pixels.shape[:2])
    path = Path(image)
    stored, oriented = image_sizes(path)
    try:
        masks, size, exif = masks_of(oriented), oriented, ExifUse.apply
    except ValueError:
        if stored == oriented:
            raise
        masks, size, exif = masks_of(stored), stored, ExifUse.ignore
    return read_image(path, size, exif), masks
