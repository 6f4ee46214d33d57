"""One label image: an integer for each pixel, as grey values, as indices of a palette, or as colours of PASCAL VOC."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from bpr.formats.decoding import opened_image
from bpr.formats.errors import FormatError, Reason
from bpr.formats.files import replacing
from bpr.structures import Mask, Size

_LARGE: Final = 1 << 24
"""Pixels that are decoded without a look at the photograph."""
_LOSSY: Final = ("JPEG", "MPO", "JPEG2000")
JPEG_PROBLEM: Final = "JPEG masks are not read, since JPEG changes the values of pixels; save the masks as PNG"
VOC_VOID: Final = 255
"""Value of the outlines of objects in the label images of PASCAL VOC."""


def _voc_colours() -> NDArray[np.uint8]:
    """(256, 3): the colour of each value, whose bits are dealt out to red, green and blue, the highest bits first."""
    values = np.arange(256)[:, None]
    channels = np.arange(3)
    return sum(((values >> (3 * bit + channels) & 1) << (7 - bit) for bit in range(8)), np.zeros((256, 3), int)).astype(
        np.uint8
    )


VOC_COLOURS: Final = _voc_colours()
"""(256, 3) uint8, RGB, by value; as the devkit of PASCAL VOC (Everingham et al., 2010) has them in its palette."""


def read_labels(path: Path, size_of: Callable[[], Size] | None = None) -> NDArray[Any]:
    """(h, w): the values of an image with one channel, of a palette image the indices; else `FormatError`.

    An image in `VOC_COLOURS` alone has the values of these, as CVAT and datumaro write label images. A large one is
    only decoded if it has as many pixels as ``size_of`` says that its photograph has, (h, w), turned or not.
    """
    with opened_image(path) as image:
        if image.format in _LOSSY or image.info.get("compression") == "jpeg":  # the latter in TIFF
            raise FormatError(path, None, JPEG_PROBLEM)
        if (
            size_of is not None
            and image.width * image.height > _LARGE
            and math.prod(size_of()) != math.prod(image.size)
        ):
            problem = f"the mask is {(image.height, image.width)} (h, w), its image {size_of()}"
            remedy = "save it in the size of the image it was made for"
            raise FormatError(path, None, f"{problem}; {remedy}", Reason.mask_size)
        if image.format == "TIFF":
            _refuse_pages(path, image.size)
        array = np.asarray(image)
    if array.ndim != 2:
        values = _values_of(array)
        if values is not None:
            return values
        problem = (
            f"must have one channel, got shape {array.shape}; colours are no labels, unless they are those of PASCAL"
        )
        raise FormatError(path, None, f"{problem} VOC: save a grey or palette image")
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _refuse_pages(path: Path, size: tuple[int, int]) -> None:
    """`FormatError` if a TIFF has a second page of its size, as stacks have: no overview, mask or damaged one."""
    try:
        with opened_image(path) as image:
            image.seek(1)
            pages, kind, same = getattr(image, "n_frames", 1), getattr(image, "tag_v2", {}).get(254), image.size == size
    except FormatError:
        return
    if same and not kind:
        raise FormatError(path, None, f"has {pages} pages, of which one would be read; save each as a file")


def paint_labels(before: NDArray[Any], masks: Mapping[int, Mask]) -> NDArray[Any]:
    """(h, w) labels with other masks, by value; the values that have none stay where they are.

    Where masks overlap, a pixel keeps the value that it had if it is one of theirs, and else has that of the last.
    """
    ignored = ~np.isin(before, [0, *masks])
    painted = np.zeros_like(before)
    for value, mask in masks.items():
        painted[mask] = value
    for value, mask in masks.items():
        painted[mask & (before == value)] = value
    painted[ignored] = before[ignored]
    return painted


def save_like(original: Path, values: NDArray[Any], target: Path) -> None:
    """Write (h, w) values with the mode, palette and transparent values of the original."""
    image, options = PillowImage.fromarray(values), dict[str, Any]()
    with opened_image(original) as opened:
        if target.suffix.lower() == ".png" and "transparency" in opened.info:
            options["transparency"] = opened.info["transparency"]
        if opened.mode == "P":
            image.putpalette(opened.getpalette() or [])
        elif opened.mode == "RGB":
            image = PillowImage.fromarray(VOC_COLOURS[values])
        elif opened.mode == "1":
            image = PillowImage.fromarray(values != 0)
    with replacing(target) as unfinished:
        image.save(unfinished, format=PillowImage.registered_extensions()[target.suffix.lower()], **options)


def _values_of(colours: NDArray[Any]) -> NDArray[np.uint8] | None:
    """(h, w) values of an (h, w, 3) uint8 image in `VOC_COLOURS`; None if it is another one."""
    if colours.dtype != np.uint8 or colours.shape[2:] != (3,):
        return None
    codes, known = (coded(each) for each in (colours, VOC_COLOURS))
    order = np.argsort(known)
    places = np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)
    values = order[places].astype(np.uint8)
    return values if np.array_equal(known[values], codes) else None


def coded(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(...) of (..., 3) colours, a number each: 65,536 first + 256 second + third channel."""
    red, green, blue = (channel.astype(np.uint32) for channel in np.moveaxis(colours, -1, 0))
    return np.asarray(red << 16 | green << 8 | blue)
