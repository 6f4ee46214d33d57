"""Open image files, however large, with one kind of error for all that can be wrong with them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from PIL import Image as PillowImage

from bpr.formats.errors import FormatError
from bpr.formats.files import refuse_pipe

UNDECODABLE: Final = (
    OSError,  # also Pillow's UnidentifiedImageError
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    ArithmeticError,
    LookupError,
    struct.error,
)
"""What Pillow raises for damaged files: its fuzz targets take any error at all."""
_MOST_PIXELS: Final = 2**32 - 1
"""Of an image: masks of larger ones have no run-length code."""
_DENSEST_PNG: Final = 1032
"""Bytes of pixels that a byte of a PNG can hold: the most that Deflate gives for one."""
_FORMATS: Final[tuple[str, ...]] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF", "HEIF", "JPEG2000", "PPM")
"""Of Pillow's and its plugins', those that are opened: others run programs (EPS), or fit nearly any bytes (TGA)."""
_OPENING: Final = Lock()


@contextmanager
def opened_image(path: Path) -> Iterator[PillowImage.Image]:
    """An image to be decoded in the block; `FormatError` if it cannot be opened, or the block meets damage in it."""
    try:
        refuse_pipe(path)
        with _open(path) as image:
            _check_claim(path, image)
            yield image
    except FormatError:
        raise
    except FileNotFoundError as error:
        raise FormatError(path, None, "is missing; check the path") from error
    except (*UNDECODABLE, ModuleNotFoundError, MemoryError) as error:
        # With Ultralytics imported, `PIL.Image.open` looks for pi_heif where a file is no image.
        reason = "cannot identify image file" if isinstance(error, ModuleNotFoundError) else error
        reason = "there is not enough memory" if isinstance(error, MemoryError) else reason
        raise FormatError(path, None, f"cannot be decoded ({reason}); replace the file") from error


def _check_claim(path: Path, image: PillowImage.Image) -> None:
    """Refuse an image that says it is larger than it can be, before any memory is taken for it."""
    pixels = image.width * image.height
    bands = len(image.getbands())
    at_least = pixels * bands if bands > 1 else pixels // 8  # bytes: one channel may have a bit for each pixel
    too_short = image.format == "PNG" and at_least > _DENSEST_PNG * path.stat().st_size
    if pixels > _MOST_PIXELS or too_short:
        problem = f"claims to be {(image.height, image.width)} (h, w), "
        problem += "for which it is too short" if too_short else "more pixels than a mask can have (2**32 - 1)"
        raise FormatError(path, None, f"{problem}; it is cut off or damaged: replace the file")


def _open(path: Path) -> PillowImage.Image:
    """Open without Pillow's limit on pixels, which is against strangers' files; these are the user's own.

    Pillow reads the limit from a global of its own and takes no argument for it. It is put back at once, since it
    belongs to the user's process; the lock keeps threads from putting back what another one has lifted.
    """
    with _OPENING:
        limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            PillowImage.init()
            formats = [name for name in _FORMATS if name in PillowImage.OPEN]  # Pillow may lack some
            # Of a `Path`, Pillow 10 follows links, and a circle is a RuntimeError.
            image = PillowImage.open(str(path), formats=formats)
            if image.format == "TIFF":  # of one that is turned, Pillow 13 maps the file in the wrong size
                image.filename = ""
            return image
        finally:
            PillowImage.MAX_IMAGE_PIXELS = limit
