"""Decode image files."""

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from bpr.formats.errors import FormatError
from bpr.structures import Image, Size


def read_image(path: Path, size: Size) -> Image:
    """Decode an image as it is stored (EXIF orientation is not applied).

    Args:
        path: Any format that Pillow reads.
        size: (h, w) it must have: that of its masks.

    Returns:
        (h, w, 3) uint8 RGB; grey is repeated, transparency dropped.

    Raises:
        FormatError: If it cannot be decoded or has another size than its masks.
    """
    try:
        with PillowImage.open(path) as file:
            image = np.asarray(file.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise FormatError(path, None, f"cannot be decoded ({error}); replace the file") from error
    if image.shape[:2] != tuple(size):
        raise FormatError(
            path, None, f"is {image.shape[:2]} (h, w), but its masks are {tuple(size)}: were they made of this image?"
        )
    return image
