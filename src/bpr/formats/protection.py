"""Where results may be written: never over what a command reads, nor over what its user made."""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bpr.formats.errors import FormatError

_MARKS: Final = (b'<meta name="generator" content="bpr', b"tEXtSoftware\0bpr")
"""How pages and pictures of this package are recognised; see ``report/page.html.j2`` and `bpr.drawing`."""
_HEAD: Final = 4096

_Identity = tuple[int, int]
"""Device and inode: the same for all names of a file, whatever links and spelling they use."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a command reads.

    Attributes:
        files: By identity.
        folders: By identity; nothing may be written into them.
        images: Folder of images: new files may be written into it, but nothing in it is replaced.
    """

    files: Mapping[_Identity, Path]
    folders: Mapping[_Identity, Path]
    images: Path | None = None

    @classmethod
    def of(cls, paths: Iterable[Path], images: Path | None = None) -> Self:
        """From files and folders; those that do not exist are left out."""
        files: dict[_Identity, Path] = {}
        folders: dict[_Identity, Path] = {}
        for path in paths:
            try:
                found = path.stat()
            except OSError:
                continue
            (folders if stat.S_ISDIR(found.st_mode) else files)[found.st_dev, found.st_ino] = path
        return cls(files, folders, images)

    def check_file(self, path: Path, replace: bool = True, argument: str = "output") -> None:
        """Refuse to write a file where something would be lost.

        Args:
            path: The file.
            replace: Whether it may be replaced if it exists.
            argument: What the user calls it: ``output`` of ``refine.py``, or an argument of a command, which has an
                ``--overwrite``.

        Raises:
            FormatError: If it is an input or in an input folder, no file, in the folder of the images and not new,
                or exists and may not be replaced.
        """
        self._check_place(path, argument)
        if path.is_dir():
            raise FormatError(path, None, f"is a folder, but a file is written; give `{argument}` a file name")
        if not os.path.lexists(path):
            return
        if path.exists() and not path.is_file():
            problem = f"is neither a file nor a folder, and is not written over; give another `{argument}`"
            raise FormatError(path, None, problem)
        if self._is_with_images(path) and not is_own(path):
            problem = f"exists in the folder of the images, where nothing is replaced; give another `{argument}`"
            raise FormatError(path, None, problem)
        if not replace and not is_own(path):
            flag = "overwrite=true" if argument == "output" else "--overwrite"
            raise FormatError(path, None, f"exists; give another `{argument}`, or {flag} to replace it")

    def check_folder(self, path: Path, replace: bool) -> None:
        """Refuse to write files into a folder where something would be lost.

        Raises:
            FormatError: If it is an input, is in one or holds one, is no folder, is in the folder of the images and
                not empty, or is not empty and its files may not be replaced.
        """
        self._check_place(path, "output")
        if os.path.lexists(path) and not path.is_dir():
            raise FormatError(path, None, "is a file, but a folder is written; give `output` another name")
        if not path.is_dir() or not any(path.iterdir()):
            return
        if self._is_with_images(path):
            problem = "is not empty, and nothing in the folder of the images is replaced"
            raise FormatError(path, None, f"{problem}; give another `output`")
        if not replace:
            problem = "is not empty; give another `output`, or overwrite=true to replace files in it"
            raise FormatError(path, None, problem)
        images = None if self.images is None else _identity(self.images)
        for parent, folders, files in os.walk(path):
            for name in (*folders, *files):
                held = _identity(Path(parent, name))
                if held is not None and (held in self.files or held in self.folders or held == images):
                    problem = f"holds {Path(parent, name)}, which is an input; give another `output`"
                    raise FormatError(path, None, problem)

    def _check_place(self, path: Path, argument: str) -> None:
        remedy = f"and inputs are never written over; give another `{argument}`"
        itself = _identity(path)
        given = None if itself is None else self.files.get(itself, self.folders.get(itself))
        if given is not None:
            raise FormatError(path, None, f"is the input {given}, {remedy}")
        for parent in _parents(path):
            around = _identity(parent)
            if around is not None and around in self.folders:
                raise FormatError(path, None, f"lies in the input {self.folders[around]}, {remedy}")

    def _is_with_images(self, path: Path) -> bool:
        images = None if self.images is None else _identity(self.images)
        return images is not None and images in map(_identity, (path, *_parents(path)))


def is_own(path: Path) -> bool:
    """Whether a page or picture was made by this package; False for other files and what cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return any(mark in head for mark in _MARKS)


def _parents(path: Path) -> set[Path]:
    """All folders that a name is in; where it is a link, also those of what it points to."""
    beside, itself = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))  # not `resolve`, which raises
    return {beside, *beside.parents, *itself.parents}  # a RuntimeError where links run in circles


def _identity(path: Path) -> _Identity | None:
    try:
        found = os.stat(os.path.realpath(path))  # `new/../file` is `file`, though there is no `new` yet
    except OSError:
        return None
    return found.st_dev, found.st_ino
