"""Find the images that predictions are of, in a folder and below it."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from bpr.data.images import image_sizes
from bpr.formats.errors import FormatError, Reason
from bpr.formats.files import of_kind, visible_files
from bpr.formats.name_matching import ImageNames, as_number, beginnings, strip_suffix
from bpr.structures import ExifUse, Size

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


class SizesInFolder(Mapping[str, Size]):
    """(h, w) of the images in a folder and below it, by their names, relative and without suffix.

    A file in a subfolder that is named like a mask of an image in the folder itself (``a_1.png`` beside ``a.jpg``) is
    not an image; nor is any in the folder ``excluded``, that of the predictions, unless it is that of the images too.
    A size is read when it is asked for: as the EXIF orientation turns the image, unless ``exif`` ignores it.
    """

    def __init__(self, folder: Path, excluded: Path, exif: ExifUse = ExifUse.auto) -> None:
        images = of_kind(_files(folder, excluded), *IMAGE_SUFFIXES)
        direct = frozenset(path.stem for path in images if path.parent == folder)
        self._exif = exif
        self._paths = {
            strip_suffix(path.relative_to(folder).as_posix()): path
            for path in images
            if path.parent == folder or direct.isdisjoint(beginnings(path.stem))
        }

    def __getitem__(self, name: str) -> Size:
        stored, oriented = image_sizes(self._paths[name])
        return stored if self._exif is ExifUse.ignore else oriented

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class ImageFinder:
    """Finds image files in one folder, which is listed once, and only if something has to be looked up.

    Args:
        folder: Of the images; it must be there.
        excluded: Predictions; files in this folder are no images, unless it is that of the images too.
    """

    def __init__(self, folder: Path, excluded: Path | None = None) -> None:
        if not folder.is_dir():
            raise FormatError(folder, None, "is not a folder; `images` must name the folder of the images")
        self.folder, self._excluded = folder, excluded
        self._counts, self._examples = Counter[str](), dict[str, str]()

    @property
    def notes(self) -> tuple[str, ...]:
        """By which rules images were found so far, with an example of each, in one line; empty if none was."""
        rules = [f"{count} {rule}{self._examples[rule]}" for rule, count in self._counts.items()]
        return (f"images found: {', '.join(rules)}",) if rules else ()

    def named(self, file_name: str, needed_by: str) -> Path:
        """A file of this name, or else the one below the folder that agrees with it as `ImageNames.find` says.

        `FormatError` if there is none or several; it names ``needed_by``, where the name, or the mask, stands.
        """
        path = self.folder / file_name  # the latter alone if it is absolute
        if os.path.isfile(path):
            return self._count(path, "by file_name")
        agreeing = [name for name in self._by_name.find(file_name) if os.path.isfile(self.folder / name)]
        if len(agreeing) == 1:
            path = self.folder / agreeing[0]
            return self._count(path, "by base name", f" (such as {file_name}, found as {agreeing[0]})")
        problem = "is a link to a file that is missing" if os.path.islink(path) else "is missing"
        if PurePosixPath(file_name).is_absolute() or PureWindowsPath(file_name).is_absolute():
            path, problem = Path(file_name), f"is missing, also by its last part below {self.folder}"
        if agreeing:
            problem = f"is not there, and fits {len(agreeing)} files below the folder ({_list_some(agreeing)})"
        elif not os.path.islink(path) and (alike := self._by_name.alike(file_name)):
            problem = f"is missing, and in another folder are only {_list_some(alike)}"
        remedy = f"; `images` must name the folder that file names start from; it is needed by {needed_by}"
        raise FormatError(path, None, problem + remedy, Reason.image_missing)

    def by_id(
        self, image_id: int | str, predictions: Path, where: str | None, by_name: bool = False, suffix: str = ""
    ) -> Path:
        """The image whose name is the id, with or without suffix, or, for a number, ends in it.

        The id may be text, and have folders. Images in the folder itself come first; those below it are looked at if
        none fits. `FormatError` if there is none or several; it names the ``predictions``, and ``where`` the id is in
        them. With ``by_name``, ids are names that were made of those of files, and are counted as such; ``suffix`` is
        what such a file had, which decides where files differ in theirs alone.
        """
        name, found = str(image_id), list[Path]()
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            found = [self.folder / one for one in self._by_name.find(name)]
            name = strip_suffix(name)
        if not found:
            number = as_number(name)
            keys = [("path", name), ("direct stem", name), ("direct number", number)]
            keys += [("below stem", name), ("below number", number)]
            found = next((self._by_key[key] for key in keys if key in self._by_key), [])
        if len(found) > 1:
            found = [path for path in found if path.suffix.lower() == suffix.lower()] or found
        if len(found) == 1:
            found_as = found[0].relative_to(self.folder).as_posix()
            rule = "by image_id" if name.isdecimal() and not by_name else "by name"
            return self._count(found[0], rule, f" (such as {image_id}, found as {found_as})")
        if not found:
            remedy = "give annotations=FILE (a COCO file whose 'images' list the names)"
            problem = f"no image in {self.folder} is named after image_id {image_id!r}; {remedy}"
        else:
            names = _list_some(path.relative_to(self.folder).as_posix() for path in found)
            problem = f"image_id {image_id!r} fits several images ({names}); give annotations=FILE"
        raise FormatError(predictions, where, problem, Reason.image_id)

    def _count(self, path: Path, rule: str, example: str = "") -> Path:
        self._counts[rule] += 1
        self._examples.setdefault(rule, example)
        return path

    @cached_property
    def _listed(self) -> list[Path]:
        return _files(self.folder, self._excluded)

    @cached_property
    def _by_name(self) -> ImageNames:
        return ImageNames(path.relative_to(self.folder).as_posix() for path in self._listed)

    @cached_property
    def _by_key(self) -> dict[tuple[str, int | str], list[Path]]:
        """Images by all that an id may stand for; those in the folder itself apart from those below it."""
        by_key: dict[tuple[str, int | str], list[Path]] = defaultdict(list)
        for path in of_kind(self._listed, *IMAGE_SUFFIXES):
            place = "direct" if path.parent == self.folder else "below"
            by_key["path", strip_suffix(path.relative_to(self.folder).as_posix())].append(path)
            by_key[f"{place} stem", path.stem].append(path)
            if number := re.search(r"(\d+)$", path.stem):
                by_key[f"{place} number", int(number[1])].append(path)
        return by_key


def _list_some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _files(folder: Path, excluded: Path | None) -> list[Path]:
    files = visible_files(folder)
    if excluded is None or folder.resolve() not in excluded.resolve().parents:
        return files
    left_out = folder / excluded.resolve().relative_to(folder.resolve())
    return [path for path in files if not path.is_relative_to(left_out)]
