"""Find the images that predictions are of, in a folder and below it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Final

from bpr.formats.errors import FormatError
from bpr.formats.files import visible_files
from bpr.formats.name_matching import ImageNames, beginnings, strip_suffix

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


def names_in_folder(folder: Path, excluded: Path) -> frozenset[str]:
    """Names of the images in a folder and below it, relative and without suffix, for masks to be named after.

    A file in a subfolder that is named like a mask of an image in the folder itself (``a_1.png`` beside ``a.jpg``) is
    not an image.

    Args:
        folder: Of the images.
        excluded: The predictions; files in this folder are no images, unless it is that of the images too.
    """
    images = _images(_files(folder, excluded))
    direct = frozenset(path.stem for path in images if path.parent == folder)
    return frozenset(
        strip_suffix(path.relative_to(folder).as_posix())
        for path in images
        if path.parent == folder or direct.isdisjoint(beginnings(path.stem))
    )


class ImageFinder:
    """Finds image files in one folder, which is listed once, and only if something has to be looked up.

    Args:
        folder: Of the images.
        excluded: Predictions; files in this folder are no images, unless it is that of the images too.

    Raises:
        FormatError: If there is no such folder.
    """

    def __init__(self, folder: Path, excluded: Path | None = None) -> None:
        if not folder.is_dir():
            raise FormatError(folder, None, "is not a folder; `images` must name the folder of the images")
        self._folder, self._excluded = folder, excluded
        self._counts, self._examples = Counter[str](), dict[str, str]()

    @property
    def notes(self) -> tuple[str, ...]:
        """By which rules images were found so far, with an example of each, in one line; empty if none was."""
        rules = [f"{count} {rule}{self._examples[rule]}" for rule, count in self._counts.items()]
        return (f"images found: {', '.join(rules)}",) if rules else ()

    def named(self, file_name: str, needed_by: str) -> Path:
        """A file of this name, or else the one below the folder that agrees with it as `ImageNames.find` says.

        Args:
            file_name: As in the predictions or annotations.
            needed_by: Where the name, or the mask of the image, stands; for messages.

        Raises:
            FormatError: If there is none or several.
        """
        path = self._folder / file_name
        if path.is_file():
            return self._count(path, "by file_name")
        agreeing = self._by_name.find(file_name)
        if len(agreeing) == 1 and (self._folder / agreeing[0]).is_file():
            path = self._folder / agreeing[0]
            return self._count(path, "by base name", f" (such as {file_name}, found as {agreeing[0]})")
        problem = "is missing"
        if agreeing:
            problem = f"is not there, and fits {len(agreeing)} files below the folder ({_list_some(agreeing)})"
        elif alike := self._by_name.alike(file_name):
            problem = f"is missing, and in another folder are only {_list_some(alike)}"
        remedy = f"; `images` must name the folder that file names start from; it is needed by {needed_by}"
        raise FormatError(path, None, problem + remedy)

    def by_id(self, image_id: int | str, predictions: Path, where: str | None) -> Path:
        """The image whose name without suffix is the id or, for a number, ends in it.

        The id may have folders. Images in the folder itself come first; those below it are looked at if none fits.

        Args:
            image_id: As in the predictions.
            predictions: The file that the id is in; for messages.
            where: The place in it.

        Raises:
            FormatError: If there is none or several.
        """
        found = self._by_path.get(str(image_id)) or self._directly.of(image_id) or self._below.of(image_id)
        if len(found) == 1:
            name = found[0].relative_to(self._folder).as_posix()
            return self._count(found[0], "by image_id", f" (such as {image_id}, found as {name})")
        if not found:
            problem = (
                f"no image in {self._folder} is named after image_id {image_id!r}; "
                "give annotations=FILE (a COCO file whose 'images' list the names)"
            )
        else:
            names = _list_some(path.relative_to(self._folder).as_posix() for path in found)
            problem = f"image_id {image_id!r} fits several images ({names}); give annotations=FILE"
        raise FormatError(predictions, where, problem)

    def _count(self, path: Path, rule: str, example: str = "") -> Path:
        self._counts[rule] += 1
        self._examples.setdefault(rule, example)
        return path

    @cached_property
    def _listed(self) -> list[Path]:
        return _files(self._folder, self._excluded)

    @cached_property
    def _by_name(self) -> ImageNames:
        return ImageNames(path.relative_to(self._folder).as_posix() for path in self._listed)

    @cached_property
    def _by_path(self) -> dict[str, list[Path]]:
        by_path: dict[str, list[Path]] = defaultdict(list)
        for path in _images(self._listed):
            by_path[strip_suffix(path.relative_to(self._folder).as_posix())].append(path)
        return by_path

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


def _list_some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _images(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]


def _files(folder: Path, excluded: Path | None) -> list[Path]:
    files = visible_files(folder)
    if excluded is None or excluded.resolve() == folder.resolve():
        return files
    if not excluded.resolve().is_relative_to(folder.resolve()):
        return files
    left_out = folder / excluded.resolve().relative_to(folder.resolve())
    return [path for path in files if not path.is_relative_to(left_out)]
