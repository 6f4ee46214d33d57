"""Entries of a results file that stay in the file: an index of where each one is, and parsing on demand.

A file of a million predictions costs twelve bytes for each of them in memory, whatever the length of their masks.
"""

import gzip
import hashlib
import io
import json
import os
import re
import tempfile
import weakref
from abc import ABC, abstractmethod
from array import array
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from bpr.formats.files import UNREADABLE, open_unpacked, write_bytes
from bpr.structures import Rle

Item = TypeVar("Item")
Entry = dict[str, Any]
"""One entry of a results file, as it was read."""

Scan: TypeAlias = Callable[[IO[bytes]], Iterator[tuple[int, int, Any]]]
"""Finds the entries in a file: of each the offset and the length, bytes, and itself."""

_CHUNK: Final = 1 << 20
_MOST_UNPACKED: Final = 1 << 30
"""Bytes of a gzipped file, unpacked."""
_MOST_TIMES: Final = 100
"""How many times as large a gzipped file may become, beyond that."""
_NO_SPACE: Final = re.compile(r"[^ \t\r\n]")
_DECODER: Final = json.JSONDecoder()


class LazySequence(Sequence[Item], ABC):
    """A sequence whose items are made when they are asked for; a slice is a list."""

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        """Make one item, or a list of several."""
        if isinstance(number, slice):
            return [self._make(position) for position in range(*number.indices(len(self)))]
        return self._make(range(len(self))[number])

    @abstractmethod
    def _make(self, position: int) -> Item:
        """Build item ``position``, 0 <= position < len(self)."""


class StoredEntries(LazySequence[Entry]):
    """A sequence of JSON objects in a file; each access gives a new object.

    It keeps no open file, so that threads and processes (forked or spawned) may share it.

    Where they are is found, and all are checked, when they are first read from the first to the last one; by whatever
    needs their number or one of them, if nothing did before.

    Args:
        path: An uncompressed file, which must not change as long as this is used.
        scan: Of each entry in the opened file, in order, the offset and the length, bytes, and itself; raises what is
            wrong with the file. It reads to the end.
        owner: Kept alive as long as this; for a temporary file, what removes it.
    """

    def __init__(self, path: Path, scan: Scan, owner: object = None) -> None:
        self._path, self._scan, self._owner = path, scan, owner
        self._found: _Index | None = None

    def __len__(self) -> int:
        return len(self._index.starts)

    def __iter__(self) -> Iterator[Entry]:
        """Parse all entries, in one pass over the file."""
        return self._first_pass() if self._found is None else self.take(range(len(self)))

    def take(self, numbers: Iterable[int]) -> Iterator[Entry]:
        """Parse the entries of these numbers (0-based), in this order; the file is opened once."""
        index = self._index
        with self._path.open("rb") as file:
            for number in numbers:
                file.seek(index.starts[number])
                yield json.loads(file.read(int(index.lengths[number])))

    @property
    def content(self) -> str:
        """Digest of all bytes of the file: BLAKE2b, hexadecimal."""
        return self._index.content

    @property
    def _index(self) -> "_Index":
        if self._found is None:
            for _ in self._first_pass():
                pass
        assert self._found is not None
        return self._found

    def _first_pass(self) -> Iterator[Entry]:
        starts, lengths = array("q"), array("l")
        raw = _HashedFile(self._path)
        with io.BufferedReader(raw, _CHUNK) as file:
            for start, length, entry in self._scan(file):
                starts.append(start)
                lengths.append(length)
                yield entry
        self._found = _Index(np.array(starts, np.int64), np.array(lengths, np.int32), raw.hash.hexdigest())

    def _make(self, position: int) -> Entry:
        return next(self.take([position]))

    def __getstate__(self) -> dict[str, Any]:
        """What other processes need; the one that made a temporary file removes it."""
        return {"_path": self._path, "_found": self._index, "_scan": None, "_owner": None}


class _Index(NamedTuple):
    """Of each entry the offset in the file and the length, bytes; and the digest of the file."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    content: str


class _HashedFile(io.FileIO):
    """A file that is read once from its start to its end, and hashed on the way."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.hash = hashlib.blake2b()

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        self.hash.update(memoryview(buffer)[:count])
        return count


class UnpackedCopy:
    """A temporary file, ``path``, with what is in a gzipped one; the process that made it removes it with this object.

    Raises:
        OSError, EOFError, zlib.error: If it is not gzipped, cut off, or far larger than such files are; nothing is left
            behind.
    """

    def __init__(self, gzipped: Path) -> None:
        with gzip.open(gzipped) as source, tempfile.NamedTemporaryFile(prefix="bpr-", delete=False) as copy:
            self.path = Path(copy.name)
            weakref.finalize(self, _remove, self.path, os.getpid())
            most = max(_MOST_UNPACKED, _MOST_TIMES * gzipped.stat().st_size)
            while chunk := source.read(_CHUNK):
                copy.write(chunk)
                if copy.tell() > most:
                    raise OSError(f"it unpacks to more than {most} bytes; unpack it yourself if that is meant")


def array_spans(file: IO[bytes], member: str | None = None) -> Iterator[tuple[int, int, object]]:
    """Where each item of a JSON array is, without ever holding more of the file than one item and a chunk.

    With ``member``, the file is an object, and the array its first member of that name; what comes after it is not
    looked at. Members before it are held whole.

    Yields:
        Offset and length of an item, bytes, and the item itself.

    Raises:
        json.JSONDecodeError, UnicodeDecodeError: If the file is no JSON, or no object with this member; ``pos`` is an
            offset in bytes.
        TypeError: If it is JSON, but does not start as an array does.
    """
    text = _Scanner(file)
    if member is not None:
        text.enter(member)
    yield from text.items()
    if member is None and text.peek():
        raise text.error("Extra data")


def first_member(path: Path, *members: str) -> str | None:
    """Which of some members comes first in a file that is a JSON object; None if there is none, or it is no such file.

    What comes after it is not looked at.
    """
    try:
        with open_unpacked(path) as file:
            return _Scanner(file).enter(*members)
    except (*UNREADABLE, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


def first_item(path: Path) -> object:
    """The first item of a file that is a JSON array; None if it has none, or is no such file."""
    try:
        with open_unpacked(path) as file:
            return next(array_spans(file), (0, 0, None))[2]
    except (*UNREADABLE, TypeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


def masks_by_file(entries: Iterable[Mapping[str, Any]], file: str, place: str) -> dict[str, dict[Any, Rle]]:
    """The masks of entries by the file and the place in it that they came from, which these fields of them name."""
    found: dict[str, dict[Any, Rle]] = defaultdict(dict)
    for entry in entries:
        found[entry[file]][entry[place]] = entry["segmentation"]
    return found


def rewrite_items(source: Path, target: Path, member: str | None, changed: Mapping[int, bytes]) -> None:
    """Write a JSON file with other items, by their number, in an array; all else is kept byte for byte.

    The array is the ``member`` of an object or, without, the whole file. Both files are gzipped or not.
    """

    def parts() -> Iterator[bytes]:
        end = 0
        with open_unpacked(source) as file:
            content = file.read()
            file.seek(0)
            for number, (start, length, _) in enumerate(array_spans(file, member)):
                if number in changed:
                    yield content[end:start] + changed[number]
                    end = start + length
        yield content[end:]

    write_bytes(target, parts())


class _Scanner:
    """Reads a file chunk by chunk; one character stands for one byte (Latin-1), so that positions are offsets.

    msgspec would be faster, but refuses what Python's json writes and reads: NaN, Infinity and lone surrogates.
    """

    def __init__(self, file: IO[bytes]) -> None:
        start = file.read(len(BOM_UTF8))
        skipped = len(start) if start == BOM_UTF8 else 0
        self._file, self._text, self._at, self._before = file, start[skipped:].decode("latin-1"), 0, skipped

    def peek(self) -> str:
        """The next non-whitespace character, not consumed; empty at the end."""
        while True:
            if found := _NO_SPACE.search(self._text, self._at):
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._more():
                return ""

    def skip(self) -> None:
        """Consume the character `peek` returned."""
        self._at += 1

    def enter(self, *members: str) -> str:
        """Consume an object up to the value of the first of its members that is among these, which is named."""
        before = "{"
        while True:
            self._expect(before)
            name = str(self.value()[2])
            self._expect(":")
            if name in members:
                return name
            self.value()
            before = ","

    def items(self) -> Iterator[tuple[int, int, object]]:
        """Parse an array: the offset, length and value of each item."""
        if self.peek() != "[":
            if self.peek() in set('{"-0123456789tfn'):
                raise TypeError(f"expected an array, found {self.peek()!r}")
            raise self.error("Expecting value")
        self.skip()
        if self.peek() == "]":
            self.skip()
        else:
            while True:
                yield self.value()
                separator = self.peek()
                if separator not in {",", "]"}:
                    raise self.error("Expecting ',' delimiter")
                self.skip()
                if separator == "]":
                    break

    def value(self) -> tuple[int, int, object]:
        """Parse the next value: its offset, its length and itself."""
        self.peek()
        while True:
            try:
                parsed, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as problem:
                offset = self._before + problem.pos
                if not self._more():
                    raise self.error(problem.msg, offset) from problem
            except ValueError as problem:
                raise self.error(str(problem)) from problem  # a number of more digits than Python reads
            else:
                if end < len(self._text) or not self._more():  # a number may go on in the next chunk
                    end = min(end, len(self._text))
                    break
        span = self._text[self._at : end]
        start, self._at = self._before + self._at, end
        if not span.isascii():
            parsed = json.loads(span.encode("latin-1").decode("utf-8", "surrogatepass"))  # as `json.load` does
        return start, len(span), parsed

    def error(self, message: str, offset: int | None = None) -> json.JSONDecodeError:
        """An error at an offset in the file, by default here."""
        problem = json.JSONDecodeError(message, "", 0)
        problem.pos = self._before + self._at if offset is None else offset
        problem.args = (f"{message}: byte {problem.pos}",)
        return problem

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise self.error(f"Expecting {character!r} delimiter")
        self.skip()

    def _more(self) -> bool:
        """Drop what was read and read on: as much again as is left, so that long values are not parsed too often."""
        chunk = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self._before += self._at
        self._text, self._at = self._text[self._at :] + chunk.decode("latin-1"), 0
        return bool(chunk)


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:
        path.unlink(missing_ok=True)
