"""Which image is meant by a name: of two paths, the folders that both have must agree, from the last one on."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from bpr.formats.errors import FormatError, Reason


class ImageNames:
    r"""Names of images, relative paths, with or without suffix, to be found by other names of them.

    The other names may be absolute, and of Windows (``C:\data\a.jpg``).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._count = 0
        self._whole: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._ending: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name in names:
            parts = _parts(name)
            self._count += 1
            self._whole[parts].append(name)
            for first in range(len(parts)):
                self._ending[parts[first:]].append(name)

    def __len__(self) -> int:
        return self._count

    def alike(self, name: str) -> list[str]:
        """All names that end in the same last part, whatever their folders."""
        return self._ending.get(_parts(name)[-1:], [])

    def same(self, name: str) -> list[str]:
        """The names that have the same last part and the same folders."""
        return self._whole.get(_parts(name), [])

    def find(self, name: str) -> list[str]:
        """The names that agree with a name in its last part and in all folders that both have.

        Of these, those that share most folders: one, several if the name is ambiguous, or none.
        """
        parts = _parts(name)
        if parts in self._ending:  # which have all of its folders, and perhaps more
            return self._ending[parts]
        ends = (parts[first:] for first in range(1, len(parts)))
        return next((self._whole[end] for end in ends if end in self._whole), [])

    def only(self, name: str, path: Path, where: str | None = None) -> str:
        """The one that `find` gives; else `FormatError`, which says in which file, and ``where`` there, the name is."""
        found = self.find(name)
        if len(found) == 1:
            return found[0]
        if found:
            problem = (
                f"may belong to {', '.join(sorted(found)[:3])}; let `images` be the folder that has just one of them"
            )
            raise FormatError(path, where, problem, Reason.image_id)
        problem = f"{name} is none of the {len(self)} images; let `images` be their folder"
        if alike := self.alike(name):
            problem += f" ({', '.join(sorted(alike)[:3])} is in another folder)"
        raise FormatError(path, where, problem, Reason.image_missing)


def strip_suffix(file_name: str) -> str:
    """The path of an image, with ``/``, without its suffix."""
    path = _path(file_name)
    return (path.parent / path.stem).as_posix()


def as_number(name: str) -> int | str:
    """The number that a name is, of at most 255 digits, which the name of a file can have; else the name."""
    return int(name) if name.isdecimal() and len(name) <= 255 else name


def name_from(file: str, given: str) -> str:
    """The name, without suffix, of an image that a file names by a path relative to itself, perhaps one of Windows."""
    beside = PurePosixPath(file).parent / PureWindowsPath(given).as_posix()
    return strip_suffix(os.path.normpath(beside))


def beginnings(stem: str) -> Iterator[str]:
    """A file name without suffix, then what it starts with, followed by ``_``, ``-`` or ``.``, the longest first."""
    yield stem
    for end in range(len(stem) - 1, 0, -1):
        if stem[end] in "_-.":
            yield stem[:end]


def _parts(name: str) -> tuple[str, ...]:
    """The folders of a path, but those that lead up, and its last part."""
    folders = PurePosixPath(os.path.normpath(_path(name))).parent.parts
    return (*(part for part in folders if part not in ("/", "//", "..")), _path(name).name)


def _path(name: str) -> PurePosixPath:
    """The path of a name of any machine, without its drive."""
    return PurePosixPath(re.sub(r"^[A-Za-z]:(?=[\\/])", "", name).replace("\\", "/"))
