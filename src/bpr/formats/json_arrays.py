"""Arrays in JSON files, item by item: where each one is, and writing some of them anew."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from bpr.formats.files import UNREADABLE, open_unpacked, write_bytes

_CHUNK: Final = 1 << 20
_NO_SPACE: Final = re.compile(r"[^ \t\r\n]")
_DECODER: Final = json.JSONDecoder()


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


def first_item(path: Path, member: str | None = None) -> object:
    """The first item of a JSON array, as of `array_spans`; None if it has none, or the file is no such file."""
    try:
        with open_unpacked(path) as file:
            return next(array_spans(file, member), (0, 0, None))[2]
    except (*UNREADABLE, TypeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


def rewrite_items(source: Path, target: Path, member: str | None, changed: Mapping[int, object]) -> None:
    """Write a JSON file with other items, by their number, in an array; all else is kept byte for byte.

    The array is the ``member`` of an object or, without, the whole file. Both files are gzipped or not.
    """
    with open_unpacked(source) as file:
        content = file.read()

    def parts() -> Iterator[bytes]:
        end = 0
        for number, (start, length, _) in enumerate(array_spans(BytesIO(content), member)):
            if number in changed:
                yield content[end:start] + json.dumps(changed[number]).encode()
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
