"""Entries of a results file that stay in the file: an index of where each one is, and parsing on demand.

A file of a million predictions costs twelve bytes for each of them in memory, whatever the length of their masks.
"""

import hashlib
import io
import json
from abc import ABC, abstractmethod
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from bpr.structures import Rle

Item = TypeVar("Item")
Entry = dict[str, Any]
"""One entry of a results file, as it was read."""
ANY_CLASS: Final = 1
"""Class of an entry that has none."""

Scan: TypeAlias = Callable[[IO[bytes]], Iterator[tuple[int, int, Any]]]
"""Finds the entries in a file: of each the offset and the length, bytes, and itself."""

_CHUNK: Final = 1 << 20


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


def masks_by_file(entries: Iterable[Mapping[str, Any]], file: str, place: str) -> dict[str, dict[Any, Rle]]:
    """The masks of entries by the file and the place in it that they came from, which these fields of them name."""
    found: dict[str, dict[Any, Rle]] = defaultdict(dict)
    for entry in entries:
        found[entry[file]][entry[place]] = entry["segmentation"]
    return found
