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
        self._alike: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._alike[_path(name).name].append(name)

    def __len__(self) -> int:
        return sum(len(names) for names in self._alike.values())

    def alike(self, name: str) -> list[str]:
        """All names that end in the same last part, whatever their folders."""
        return self._alike.get(_path(name).name, [])

    def find(self, name: str) -> list[str]:
        """The names that agree with a name in its last part and in all folders that both have.

        Of these, those that share most folders: one, several if the name is ambiguous, or none.
        """
        shared = {other: _shared_folders(name, other) for other in self.alike(name)}
        most = max((count for count in shared.values() if count is not None), default=None)
        return [] if most is None else [other for other, count in shared.items() if count == most]

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


def _shared_folders(one: str, other: str) -> int | None:
    """How many folders two paths share before their last part; None if they disagree in one that both have."""
    pairs = list(zip(reversed(_folders(one)), reversed(_folders(other)), strict=False))
    return len(pairs) if all(mine == theirs for mine, theirs in pairs) else None


def _folders(name: str) -> tuple[str, ...]:
    return tuple(
        part for part in PurePosixPath(os.path.normpath(_path(name))).parent.parts if part not in ("/", "//", "..")
    )


def _path(name: str) -> PurePosixPath:
    """The path of a name of any machine, without its drive."""
    return PurePosixPath(re.sub(r"^[A-Za-z]:(?=[\\/])", "", name).replace("\\", "/"))
