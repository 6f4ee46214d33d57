"""Where images and masks are in the folders that data sets and tools make of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from typing import Final, NamedTuple

from bpr.data.image_finder import IMAGE_SUFFIXES
from bpr.formats.errors import FormatError
from bpr.formats.files import of_kind, visible_files
from bpr.formats.format_detection import prediction_format
from bpr.formats.label_images import VOC_VOID

_VOC_IMAGES: Final = "JPEGImages"
_VOC_MASKS: Final = "SegmentationObject"
_WITH_IMAGES: Final = frozenset({"yolo", "labelme", "sam"})
"""Formats whose folders may hold the images too; in others, images are masks."""
_LOOKED_AT: Final = 20
"""Files of labelme or SAM that are asked where their images are."""


class Layout(NamedTuple):
    """Folder of images, predictions, the ``ignore_label`` of these, and remarks on what was chosen, a line each."""

    images: Path
    predictions: Path
    ignore_label: int | None
    notes: tuple[str, ...] = ()


def find_layout(images: Path | None, predictions: Path, form: str | None, ignore_label: int | None) -> Layout:
    """What is meant where ``images`` is None, or ``predictions`` a whole PASCAL VOC (``VOCdevkit/VOC2012``).

    Of VOC, ``SegmentationObject`` and, unless another folder is given, ``JPEGImages`` are taken, and 255 is void. Else,
    images are where the files of labelme and SAM say; in a folder ``images`` in or beside the predictions or their
    folder, or beside the file itself; or, of folders, in ``JPEGImages`` as in DAVIS and YouTube-VOS.

    Raises:
        FormatError: If images are not given, and there are none in these places, or no predictions.
    """
    if all((predictions / name).is_dir() for name in (_VOC_IMAGES, _VOC_MASKS)):
        own = images is None or images.resolve() == predictions.resolve()
        folder = predictions / _VOC_IMAGES if images is None or own else images
        void = VOC_VOID if ignore_label is None else ignore_label
        note = f"PASCAL VOC: masks of {_VOC_MASKS}, images of {folder}, void {void}"
        return Layout(folder, predictions / _VOC_MASKS, void, (note,))
    if images is not None:
        return Layout(images, predictions, ignore_label)
    if not predictions.exists():
        raise FormatError(predictions, None, "cannot be read (no such file or folder); check the path")
    places = list(dict.fromkeys(_places(predictions, form)))
    holding = (place for place in places if of_kind(visible_files(place), *IMAGE_SUFFIXES))
    if (place := next(_holding_named(predictions, form, holding), None)) is not None:
        return Layout(place, predictions, ignore_label, (f"images are taken from {place}",))
    looked = ", ".join(map(str, places))
    raise FormatError(predictions, None, f"no images were found in {looked}; give images=DIR")


def _places(predictions: Path, form: str | None) -> Iterator[Path]:
    folder = _folder_of(predictions)
    parent = folder.resolve().parent
    yield folder / "images"
    yield parent / "images"
    if predictions.is_dir():
        yield parent.parent / "images"
    if not predictions.is_dir() or prediction_format(predictions, form).name in _WITH_IMAGES:
        yield folder
    if predictions.is_dir():
        yield folder / _VOC_IMAGES
        yield parent / _VOC_IMAGES
        yield parent.parent / _VOC_IMAGES / folder.name  # of several resolutions
        yield parent.parent / _VOC_IMAGES


def _holding_named(predictions: Path, form: str | None, places: Iterator[Path]) -> Iterator[Path]:
    """The places that hold images, those first that hold all that the files of labelme or SAM name.

    Of the files, the first few are read; of what they name counts what is there, up to two folders above that of the
    predictions. If none of the places holds it all, the folder that does is one more, unless it is above them.
    """
    folder, image_of = _folder_of(predictions), prediction_format(predictions, form).image_of
    if image_of is not None and (named := _named_folders(predictions, image_of)):
        places = iter(holding := list(places))
        yield from (place for place in holding if all(_is_in(one, place) for one in named))
        if not _is_in(folder, common := Path(os.path.commonpath(named))):
            yield common
    yield from places


def _named_folders(predictions: Path, image_of: Callable[[Path], str | None]) -> list[Path]:
    folder, found = _folder_of(predictions), list[Path]()
    files = visible_files(folder) if predictions.is_dir() else [predictions]
    for file in of_kind(files, ".json")[:_LOOKED_AT]:
        name = image_of(file)
        image = Path(os.path.normpath(file.parent / PureWindowsPath(name or "").as_posix()))
        if name and os.path.isfile(image) and _is_in(image.parent, folder.resolve().parent.parent):
            found.append(image.parent)
    return found


def _folder_of(predictions: Path) -> Path:
    return predictions if predictions.is_dir() else predictions.parent


def _is_in(folder: Path, place: Path) -> bool:
    return folder.resolve().is_relative_to(place.resolve())
