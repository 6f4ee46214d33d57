"""List files without the hidden ones, unpack them, and write them so that an interruption leaves the old one whole."""

import errno
import gzip
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path, PurePath
from typing import IO, Final, cast

from bpr.formats.errors import FormatError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNREADABLE: Final = (OSError, EOFError, zlib.error)
"""What reading a file raises where it is missing, or gzipped and damaged."""

_UNFINISHED: Final = re.compile(r".{1,40}\.[0-9a-f]{8}-[0-9a-f]{32}\.tmp", re.DOTALL)
"""The names that `replacing` gives."""
_COPY: Final = ("bpr-", ".unpacked")
"""How the names of unpacked copies begin and end."""
_CHUNK: Final = 1 << 20
_MOST_UNPACKED: Final = 1 << 30
"""Bytes of a gzipped file, unpacked."""
_MOST_TIMES: Final = 100
"""How many times as large a gzipped file may become, beyond that."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullDiskError(OSError):
    """There is no room to write a file; the message names it, and says how much is free."""


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """While ``path``, or what will be it, is written in the block, have a lack of room told by a `FullDiskError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, FullDiskError):
            raise
        free = shutil.disk_usage(path.parent).free / 2**20
        problem = f"cannot be written ({error.strerror}, {free:.1f} MiB are free); make room, and repeat the command"
        raise FullDiskError(f"{path}: {problem}") from error


def visible_files(folder: Path) -> list[Path]:
    """Files at any depth below a folder, in the order of their paths; none if there is no such folder.

    What starts with a dot is left out, as are files in folders that do: macOS' ``._NAME``, for one, has the suffix of
    an image but is none. Links to folders are not followed, since what is written to the output must not lie
    elsewhere too; `linked_folders` names them.

    Raises:
        FormatError: If a folder cannot be read, so that nothing in it would be missed in silence.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found)


def linked_folders(folder: Path) -> list[str]:
    """The folders at any depth below a folder that are links, by their relative names; not hidden ones."""
    found: list[Path] = []
    for parent, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for path in (Path(parent, name) for name in folders) if path.is_symlink()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _refuse_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        problem = f"cannot be read ({error.strerror}); make it readable, or move it out of the folder"
        raise FormatError(str(error.filename), None, problem) from error


def of_kind(files: Iterable[Path], *suffixes: str) -> list[Path]:
    """Those of some files that have one of the suffixes, which are given in lower case, in lower or upper case."""
    return [file for file in files if file.suffix.lower() in suffixes]


def resolve_inside(given: str, start: PurePath | None = None) -> Path:
    """A path that a file names, relative to the folder that all of them must be in; links are not followed.

    ``start`` is the folder inside of that one that it is relative to. `ValueError` if it leads out, or is absolute.
    """
    if Path(given).anchor:
        raise ValueError(f"{given} is an absolute path; give it relative")
    inside = Path(os.path.normpath((start or PurePath()) / given))
    if inside.parts[:1] in ((), ("..",)):
        raise ValueError(f"{given} leads out of the folder; put the file into it")
    return inside


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """While a file is read in the block, name it in a `FormatError` where it is missing, or gzipped and damaged."""
    refuse_pipe(path)
    try:
        yield
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        problem = f"cannot be read ({reason}); check the path, and whether it is whole"
        raise FormatError(path, None, problem) from error


def refuse_pipe(path: Path) -> None:
    """`FormatError` if a path leads to a pipe or device, which may block for ever, and gives its content once."""
    if not os.path.isfile(path) and os.path.exists(path) and not os.path.isdir(path):
        raise FormatError(path, None, "is a pipe or device, which cannot be read twice; save it as a file")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file; `FormatError` if it cannot be read, or is no text."""
    refuse_pipe(path)
    try:
        return path.read_text(encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(path, None, f"cannot be read as text ({error})") from error


def is_gzip(path: Path) -> bool:
    """Whether a file is gzipped, by how it starts; `OSError` if it cannot be read, `FormatError` if it is a pipe."""
    refuse_pipe(path)
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file to read what is in it, or in it gzipped; one of `UNREADABLE`, here or later, if that fails."""
    return cast(IO[bytes], gzip.open(path)) if is_gzip(path) else path.open("rb")


class UnpackedCopy:
    """A temporary file, ``path``, with what is in a gzipped one; the process that made it removes it with this object.

    Those that killed processes left are removed before: it is locked as long as it is in use.

    Raises:
        OSError, EOFError, zlib.error: If it is not gzipped, cut off, or far larger than such files are; nothing is left
            behind.
    """

    def __init__(self, gzipped: Path) -> None:
        _sweep_copies()
        with gzip.open(gzipped) as source:
            copy = _locked_copy()
            self.path = Path(copy.name)
            remove = weakref.finalize(self, _remove, copy, os.getpid())
            most = max(_MOST_UNPACKED, _MOST_TIMES * gzipped.stat().st_size)
            try:
                while chunk := source.read(_CHUNK):
                    copy.write(chunk)
                    if copy.tell() > most:
                        raise OSError(f"it unpacks to more than {most} bytes; unpack it yourself if that is meant")
                copy.flush()
            except BaseException:
                remove()
                raise


def _locked_copy() -> IO[bytes]:
    """A new temporary file, locked until it is closed in all processes."""
    while True:
        copy = tempfile.NamedTemporaryFile(prefix=_COPY[0], suffix=_COPY[1], delete=False)  # noqa: SIM115 (stays open)
        with suppress(OSError, AttributeError):  # a system without locks: nothing is swept there
            fcntl.flock(copy, fcntl.LOCK_SH)
        if os.path.exists(copy.name):  # else `_sweep_copies` has come in between
            return cast(IO[bytes], copy)
        copy.close()


def _sweep_copies() -> None:
    for left in Path(tempfile.gettempdir()).glob("*".join(_COPY)):
        with suppress(OSError, AttributeError):  # in use, somebody else's, or a pipe
            file = os.open(left, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISREG(os.fstat(file).st_mode):
                    left.unlink()
            finally:
                os.close(file)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; what was written there becomes ``path`` at the end of the block.

    The folder is made if it is missing. The name is unique on all hosts that share the folder. If anything fails, an
    older ``path`` is still whole; what a killed process leaves is found by `sweep`. Raises `FullDiskError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{_prefix(path)}{uuid.uuid4().hex}.tmp")  # not mkstemp, which ignores the umask
    try:
        with room_for(path):
            yield unfinished
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what processes that were killed in `replacing` left of a file, or of all files at any depth of a folder.

    Call it only while holding the lock of what is written. Other files are left alone.
    """
    left = [Path(parent, name) for parent, _, files in os.walk(path) for name in files]
    if path.parent.is_dir():
        left += [beside for beside in path.parent.iterdir() if beside.name.startswith(_prefix(path))]
    for file in left:
        if _UNFINISHED.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """How the names of `replacing` begin: with the name, which may be too long, and a digest of all of it."""
    return f"{path.name[:40]}.{hashlib.blake2b(os.fsencode(path.name), digest_size=4).hexdigest()}-"


def write_bytes(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file by way of `replacing`, gzipped, without time and name, if its name ends in ``.gz``."""
    with replacing(path) as unfinished, unfinished.open("wb") as plain:
        zipped = gzip.GzipFile("", "wb", fileobj=plain, mtime=0) if path.suffix == ".gz" else nullcontext(plain)
        with zipped as file:
            file.writelines(parts)


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a UTF-8 file by way of `replacing`; ``errors`` as of `open`."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors=errors)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file by way of `replacing`; a link that leads nowhere is copied as a link."""
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished, follow_symlinks=os.path.exists(source))


def _remove(copy: IO[bytes], process: int) -> None:
    copy.close()
    if os.getpid() == process:
        Path(copy.name).unlink(missing_ok=True)
