"""The file layer of a process that ``kill -9`` stops at the n-th write: before it, when half is done, or after it."""

import builtins
import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

PHASES = ("before", "half", "after")
CHANGES = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir")
"""Functions of `os` that change a folder."""


class Point(NamedTuple):
    """Which change of the files, counted from 0, and when in it: one of `PHASES`."""

    number: int
    phase: str


@dataclass
class Stopping:
    """Counts what is written below ``folder``, in ``seen``; ``at`` a point, a signal is sent to this process."""

    folder: Path
    at: Point | None = None
    sent: signal.Signals = signal.SIGKILL
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def do(self, what: str, path: object, whole: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        name = os.fspath(path) if isinstance(path, str | os.PathLike) else str(path)
        if not os.path.abspath(name).startswith(f"{self.folder}{os.sep}"):
            return whole()
        with self.lock:
            here = self.at is not None and self.at.number == len(self.seen)
            self.seen.append((what, name))
            if here and self.at.phase == "before":
                self._end()
            if here and self.at.phase == "half" and half is not None:
                half()
                self._end()
            try:
                return whole()
            finally:
                if here and self.at.phase != "before":
                    self._end()

    def _end(self) -> None:
        os.kill(os.getpid(), self.sent)

    def install(self) -> None:
        """Not to be undone: for a process that ends afterwards."""
        for name in CHANGES:
            setattr(os, name, self._changing(name, getattr(os, name)))
        plain, low = builtins.open, os.open

        def open_file(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **more):
            if isinstance(file, int) or more.get("opener") or not set(mode) & set("wxa+"):
                return plain(file, mode, buffering, encoding, errors, newline, *rest, **more)
            raw = self.do("open", file, lambda: RawFile(self, file, mode.replace("b", "").replace("t", "")))
            buffer = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            if "b" in mode:
                return buffer
            return io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)

        def open_low(path, flags, *rest, **more):
            if not flags & os.O_CREAT:
                return low(path, flags, *rest, **more)
            return self.do("create", path, lambda: low(path, flags, *rest, **more))

        builtins.open = io.open = open_file
        os.open = open_low

    def _changing(self, name, original):
        def changed(path, *rest, **more):
            return self.do(name, path, lambda: original(path, *rest, **more))

        return changed


class RawFile(io.FileIO):
    """A file whose writes, as the system sees them, are counted."""

    def __init__(self, stopping: Stopping, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self._stopping, self._path = stopping, path

    def write(self, data: Any) -> int:
        content = bytes(data)
        return self._stopping.do(
            "write", self._path, lambda: super(RawFile, self).write(content),
            lambda: super(RawFile, self).write(content[: len(content) // 2]),
        )  # fmt: skip


def kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def forked(work: Callable[[], None], log: Path) -> int:
    """Exit status of a child that does ``work``, with its output in a file; negative if a signal ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        work()
        status = 0
    except SystemExit as end:
        print(end.code, flush=True)
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
