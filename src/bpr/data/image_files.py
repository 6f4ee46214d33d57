"""Find the images that predictions are of, in a folder and below it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from bpr.formats.errors import FormatError
from bpr.formats.files import visible_files
from bpr.formats.mask_images import start_among

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


def image_names(folder: Path, besides: Path) -> frozenset[str]:
    """Names without suffix of the images in a folder and below it, for masks to be named after.

    Below the folder, what is named as masks of an image in the folder itself (``a_1.png`` beside ``a.jpg``) is none.

    Args:
        folder: Of the images.
        besides: The predictions; files in this folder are no images, unless it is that of the images too.
    """
    images = _images(_files(folder, besides))
    direct = frozenset(path.stem for path in images if path.parent == folder)
    return direct | {path.stem for path in images if start_among(direct, path.stem) is None}


class ImageFinder:
    """Finds image files in one folder, which is listed once, and only if something has to be looked up.

    Args:
        folder: Of the images.
        besides: Predictions; files in this folder are no images, unless it is that of the images too.

    Raises:
        FormatError: If there is no such folder.
    """

    def __init__(self, folder: Path, besides: Path | None = None) -> None:
        if not folder.is_dir():
            raise FormatError(folder, None, "is not a folder; `images` must name the folder of the images")
        self._folder, self._besides = folder, besides

    def named(self, file_name: str, needed_by: str) -> Path:
        """A file of this name, or else the only one below the folder whose path ends so (Cityscapes' city folders).

        Args:
            file_name: As in the predictions or annotations.
            needed_by: Where the name, or the mask of the image, stands; for messages.

        Raises:
            FormatError: If there is none or several.
        """
        path = self._folder / file_name
        if path.is_file():
            return path
        below = self._by_name.get(PurePosixPath(file_name).name, [])
        if len(below) == 1 and below[0].is_file():
            return below[0]
        problem = (
            "is missing" if not below else f"is not there, but {len(below)} files of that name are below the folder"
        )
        remedy = f"; `images` must name the folder that file names start from; it is needed by {needed_by}"
        raise FormatError(path, None, problem + remedy)

    def by_id(self, image_id: int | str, predictions: Path, where: str | None) -> Path:
        """The image whose name without suffix is the id or, for a number, ends in it.

        Images in the folder itself come first; those below it are looked at if none of them fits.

        Args:
            image_id: As in the predictions.
            predictions: The file that the id is in; for messages.
            where: The place in it.

        Raises:
            FormatError: If there is none or several.
        """
        found = self._directly.of(image_id) or self._below.of(image_id)
        if len(found) == 1:
            return found[0]
        if not found:
            problem = (
                f"no image in {self._folder} is named after image_id {image_id!r}; "
                "give annotations=FILE (a COCO file whose 'images' list the names)"
            )
        else:
            names = ", ".join(path.relative_to(self._folder).as_posix() for path in found[:3])
            problem = f"image_id {image_id!r} fits several images ({names}); give annotations=FILE"
        raise FormatError(predictions, where, problem)

    @cached_property
    def _listed(self) -> list[Path]:
        return _files(self._folder, self._besides)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self._listed:
            by_name[path.name].append(path)
        return by_name

    @cached_property
    def _directly(self) -> "_ImagesById":
        return _ImagesById(path for path in _images(self._listed) if path.parent == self._folder)

    @cached_property
    def _below(self) -> "_ImagesById":
        return _ImagesById(path for path in _images(self._listed) if path.parent != self._folder)


class _ImagesById:
    """Paths of images by their name without suffix, and by the number that it ends in."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._by_number: dict[int, list[Path]] = defaultdict(list)
        for path in paths:
            self._by_stem[path.stem].append(path)
            number = re.search(r"(\d+)$", path.stem)
            if number:
                self._by_number[int(number[1])].append(path)

    def of(self, image_id: int | str) -> list[Path]:
        by_number = self._by_number.get(image_id, []) if isinstance(image_id, int) else []
        return self._by_stem.get(str(image_id)) or by_number


def _images(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]


def _files(folder: Path, besides: Path | None) -> list[Path]:
    files = visible_files(folder)
    if besides is None or besides.resolve() == folder.resolve():
        return files
    if not besides.resolve().is_relative_to(folder.resolve()):
        return files
    left_out = folder / besides.resolve().relative_to(folder.resolve())
    return [path for path in files if not path.is_relative_to(left_out)]
