"""Open image files, however large, with one kind of error for all that can be wrong with them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from PIL import Image as PillowImage

from bpr.formats.errors import FormatError

UNDECODABLE: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""All of them are raised by Pillow for damaged files; OSError includes its UnidentifiedImageError."""
_OPENING: Final = Lock()


@contextmanager
def opened_image(path: Path) -> Iterator[PillowImage.Image]:
    """An image to be decoded in the block; `FormatError` if it cannot be opened, or the block meets damage in it."""
    try:
        with _open(path) as image:
            yield image
    except FormatError:
        raise
    except FileNotFoundError as error:
        raise FormatError(path, None, "is missing; check the path") from error
    except (*UNDECODABLE, ModuleNotFoundError) as error:
        # With Ultralytics imported, `PIL.Image.open` looks for pi_heif where a file is no image.
        reason = "cannot identify image file" if isinstance(error, ModuleNotFoundError) else error
        raise FormatError(path, None, f"cannot be decoded ({reason}); replace the file") from error


def _open(path: Path) -> PillowImage.Image:
    """Open without Pillow's limit on pixels, which is against strangers' files; these are the user's own.

    Pillow reads the limit from a global of its own and takes no argument for it. It is put back at once, since it
    belongs to the user's process; the lock keeps threads from putting back what another one has lifted.
    """
    with _OPENING:
        limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            return PillowImage.open(path)
        finally:
            PillowImage.MAX_IMAGE_PIXELS = limit
