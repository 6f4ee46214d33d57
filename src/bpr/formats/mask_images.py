"""Masks as image files: one mask per file, or one integer per instance."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from bpr import rle as rle_codec
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.files import replacing, visible_files

MASK_SUFFIXES: Final = frozenset({".png", ".tif", ".tiff", ".bmp"})
"""Formats that do not change the values of pixels."""
_LOSSY_SUFFIXES: Final = frozenset({".jpg", ".jpeg"})


def is_mask_folder(path: Path) -> bool:
    """Whether there is a folder with mask images in it."""
    return bool(_mask_files(path))


def read_mask_images(folder: str | Path, names: Collection[str]) -> list[Entry]:
    """Read a folder of masks.

    A file with the name of an image (``a.png`` for ``a.jpg``) is a label image: each value but 0 is an instance.
    Any other file is one mask (all but 0 is foreground); it belongs to the image whose name its own name starts
    with, followed by ``_``, ``-`` or ``.`` (``a_1.png``), or else to that of its folder (``a/1.png``).

    Args:
        folder: Of the masks; files are taken in the order of their paths, hidden ones left out.
        names: Of the images, without suffix.

    Returns:
        Entries such as `bpr.formats.coco.read_results` gives: ``image_id`` is the name of the image without
        suffix, ``category_id`` and ``score`` are 1; ``mask_file`` is the file, ``value`` the value in it (None
        for a file with one mask).

    Raises:
        FormatError: If there is no mask, or a file belongs to no image, cannot be decoded, or has several channels.
    """
    folder, names = Path(folder), frozenset(names)
    entries: list[Entry] = []
    files = _mask_files(folder)
    for path in files:
        image_id, values = _image_of(path, names), read_labels(path)
        found: Sequence[int | None] = [None]
        if path.stem == image_id:
            found = [int(value) for value in np.unique(values) if value != 0]
        for value in found:
            mask = values != 0 if value is None else values == value
            entries.append(
                {
                    "image_id": image_id,
                    "category_id": 1,
                    "score": 1.0,
                    "segmentation": rle_codec.encode(mask),
                    "mask_file": path.relative_to(folder).as_posix(),
                    "value": value,
                }
            )
    if not files:
        refuse_lossy_masks(folder)
        raise FormatError(folder, None, f"has no masks; they are {', '.join(sorted(MASK_SUFFIXES))} files")
    return entries


def refuse_lossy_masks(folder: Path) -> None:
    """Say why the images in a folder without masks are none, if it has images.

    Raises:
        FormatError: If there are JPEG files.
    """
    lossy = [file for file in visible_files(folder) if file.suffix.lower() in _LOSSY_SUFFIXES]
    if lossy:
        problem = "JPEG masks are not read, since JPEG changes the values of pixels; save the masks as PNG"
        raise FormatError(folder, lossy[0].relative_to(folder).as_posix(), problem)


def write_mask_images(folder: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path) -> None:
    """Write entries of `read_mask_images`, perhaps with other masks, to files of the same names and pixel types.

    Where refined instances of a label image overlap, a pixel stays with the instance that had it before, or goes
    to the last one in the order of the values. Files without an instance are written too.

    Args:
        folder: Made if missing.
        entries: All entries of each file.
        source: The folder that they were read from.

    Raises:
        OSError: If a file cannot be written.
    """
    source, per_file = Path(source), defaultdict[str, list[Mapping[str, Any]]](list)
    for entry in entries:
        per_file[entry["mask_file"]].append(entry)
    for path in _mask_files(source):
        name = path.relative_to(source).as_posix()
        of_file, before = per_file[name], read_labels(path)
        whole = bool(of_file) and of_file[0]["value"] is None
        painted = _mask_image(before, of_file) if whole else _label_image(before, of_file)
        _save_like(path, painted, Path(folder) / name)


def _mask_files(folder: Path) -> list[Path]:
    return [file for file in visible_files(folder) if file.suffix.lower() in MASK_SUFFIXES]


def _save_like(original: Path, values: NDArray[Any], target: Path) -> None:
    """Write values with the mode and palette of the original."""
    image = PillowImage.fromarray(values)
    with PillowImage.open(original) as opened:
        if opened.mode == "P":
            image.putpalette(opened.getpalette() or [])
        elif opened.mode == "1":
            image = PillowImage.fromarray(values != 0)
    with replacing(target) as unfinished:
        image.save(unfinished, format=PillowImage.registered_extensions()[target.suffix.lower()])


def read_labels(path: Path) -> NDArray[Any]:
    """(h, w) of an integer type: the values of an image with one channel, of a palette image the indices.

    Raises:
        FormatError: If it cannot be decoded, or has several channels.
    """
    try:
        with PillowImage.open(path) as image:
            array = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # Pillow raises all of them
        raise FormatError(path, None, f"cannot be decoded ({error}); replace the file") from error
    if array.ndim != 2:
        problem = f"must have one channel, got shape {array.shape}; colours are no labels, save a grey or palette image"
        raise FormatError(path, None, problem)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def start_among(names: Collection[str], stem: str) -> str | None:
    """The longest of ``names`` that a file name without suffix is, or starts with, followed by ``_``, ``-`` or ``.``.

    Returns:
        None if there is none.
    """
    if stem in names:
        return stem
    starts = [stem[:end] for end, letter in enumerate(stem) if letter in "_-."]
    return max((start for start in starts if start in names), key=len, default=None)


def _image_of(path: Path, names: frozenset[str]) -> str:
    name = start_among(names, path.stem)
    if name is not None:
        return name
    if path.parent.name in names:
        return path.parent.name
    raise FormatError(
        path, None, f"belongs to none of the {len(names)} images: name it, or its folder, after its image"
    )


def _mask_image(before: NDArray[Any], entries: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    foreground = before.max() or 255
    return np.where(rle_codec.decode(entries[0]["segmentation"]), foreground, 0).astype(before.dtype)


def _label_image(before: NDArray[Any], entries: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    painted = np.zeros_like(before)
    masks = [(entry["value"], rle_codec.decode(entry["segmentation"])) for entry in entries]
    for value, mask in masks:
        painted[mask] = value
    for value, mask in masks:
        painted[mask & (before == value)] = value
    return painted
