"""Images as (h, w, 3) uint8 RGB: from files, and from what is in memory."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from bpr.formats.decoding import opened_image
from bpr.formats.errors import FormatError, Reason
from bpr.structures import ExifUse, Image, Size

_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_SWAPPED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange height and width."""
_TIFF_SIZE: Final = (257, 256)
"""Tags of a TIFF: height and width."""
_WIDE_MODES: Final = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
"""Pillow modes of one channel with more than 8 bits."""
_CHANNELS: Final = (1, 3, 4)
"""Of grey images, RGB and RGBA."""
_BAND: Final = 512
"""Rows that are converted at a time."""


def read_image(path: Path, size: Size, exif: ExifUse = ExifUse.auto) -> Image:
    """Decode an image: JPEG, PNG, WebP, TIFF, BMP, AVIF, GIF, HEIF (with a plugin of Pillow), JPEG 2000 or PPM.

    Args:
        path: The file.
        size: (h, w) it must have: that of its masks; else, or if it cannot be decoded, that is a `FormatError`.
        exif: Whether to turn the image as its EXIF orientation says; see `ExifUse`.

    Returns:
        (h, w, 3) uint8 RGB; grey is repeated, transparency dropped, palettes and CMYK are converted, 16 bits scaled
        to 8 (10 or 12 where no more are in use), floating-point values taken as [0, 1] if none is above 1.
    """
    with opened_image(path) as file:
        stored, oriented = _sizes(file)
        turn = exif is ExifUse.apply or (exif is ExifUse.auto and oriented == tuple(size))
        found = oriented if turn else stored
        if found != tuple(size):
            also = f" (as stored {stored})" if stored != oriented else ""
            problem = f"is {found}{also} (h, w), but its masks are {tuple(size)}: were they made of this image?"
            raise FormatError(path, None, problem, Reason.image_size)
        if turn and _orientation(file) != _UPRIGHT:
            ImageOps.exif_transpose(file, in_place=True)  # without it, a copy even of what needs no turn
        pixels = _pixels(file)
    if pixels.shape[:2] != tuple(size):
        raise FormatError(path, None, f"was decoded as {pixels.shape[:2]} (h, w), but said to be {found}: save it anew")
    return pixels


def image_sizes(path: Path) -> tuple[Size, Size]:
    """(h, w) of an image as it is stored, and as its EXIF orientation turns it, from the header of the file."""
    with opened_image(path) as file:
        return _sizes(file)


def as_rgb(image: Any) -> Image:
    """(h, w, 3) uint8 of an image in memory, without its transparency; see `bpr.api.refiner.Refiner`.

    The channels, 1, 3 or 4, come last; they come first where the last axis has none of these lengths.

    Raises:
        TypeError: If it is no array or PIL image, or not uint8.
        ValueError: If the shape is not that of an image.
    """
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # PIL, without importing it
        image = _pixels(image)
    array = np.asarray(image)
    if array.dtype != np.uint8:
        found = f"{array.dtype} {array.shape}" if array.ndim else type(image).__name__
        remedy = "convert it, and multiply values in [0, 1] by 255 before"
        raise TypeError(f"the image must be uint8, 0 to 255, got {found}; {remedy}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or array.size == 0:
        raise ValueError(
            f"the image must be (h, w, 3) or (3, h, w) RGB, with a fourth channel RGBA, or (h, w) grey, "
            f"got shape {array.shape}; several images come as a list"
        )
    return np.ascontiguousarray(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)))


def _sizes(file: PillowImage.Image) -> tuple[Size, Size]:
    stored = (file.height, file.width)
    if isinstance(file, TiffImageFile):  # of which Pillow turns the pixels, but not always the size before
        height, width = (int(file.tag_v2[tag]) for tag in _TIFF_SIZE)
        turned = (width, height) if file.tag_v2.get(_ORIENTATION) in _SWAPPED else (height, width)
        return turned, turned
    return stored, (stored[::-1] if _orientation(file) in _SWAPPED else stored)


def _orientation(file: PillowImage.Image) -> object:
    """The EXIF orientation that Pillow has not applied by itself; of PNGs not that in XMP or text."""
    if isinstance(file, TiffImageFile):
        return _UPRIGHT
    if file.format == "PNG":  # `getexif` would decode all pixels, to look behind them
        exif = PillowImage.Exif()
        exif.load(file.info.get("exif", b""))
    else:
        exif = file.getexif()
    return exif.get(_ORIENTATION, _UPRIGHT)


def _pixels(image: PillowImage.Image) -> Image:
    """(h, w, 3) uint8, converted in bands: what Pillow copies on the way does not grow with the image."""
    image.load()  # before which a TIFF that is turned may not have its size
    if image.mode in _WIDE_MODES:
        return _eight_bit(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _BAND):
        bottom = min(top + _BAND, image.height)
        band = image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return pixels


def _eight_bit(image: PillowImage.Image) -> Image:
    """(h, w, 3) uint8 of one channel with more than 8 bits."""
    values: NDArray[np.float32] = np.nan_to_num(np.asarray(image, np.float32))
    highest = float(values.max(initial=0))
    if image.mode == "F":
        factor = 255.0 if highest <= 1 else 1.0
    else:
        factor = 255 / (2 ** max(int(highest).bit_length(), 8) - 1)
    grey = np.clip(np.rint(values * factor), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
