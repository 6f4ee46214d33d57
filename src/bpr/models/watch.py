"""Processes that watch each other, so that one that dies or hangs ends the run of all, with one line.

Each process changes the time of a file every second, in a folder that all of them see. A process whose file is the
same in `SILENCE` looks is taken to hang. Looks are counted, not seconds: a run that is suspended as a whole (Ctrl-Z)
goes on.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Final
from unittest.mock import patch

import pytorch_lightning as pl
from pytorch_lightning.strategies.launchers import subprocess_script

from bpr.cli.signals import is_started_by_lightning, say
from bpr.models.trainer import is_spread

PERIOD: Final = 1.0
"""Seconds between two looks."""

SILENCE: Final = 25
"""Looks without a sign of life after which a process hangs."""

_START: Final = 600
"""The same for a process that Lightning starts, before its first sign: it imports and reads first."""


class Watch(pl.Callback):
    """Ends all processes of a prediction once one of them is gone; to be among the callbacks of the trainer.

    The first process watches the others, and they watch the first.

    Args:
        folder: Where the processes have their files, which are empty.
        left: What is kept and which command resumes, for the line that ends the run.
    """

    def __init__(self, folder: Path, left: Callable[[], str]) -> None:
        self._folder, self._left = folder, left
        self._over = threading.Event()
        self._children: Sequence[Popen[bytes]] = ()
        self._rank, self._world, self._parent, self._first = 0, 1, 0, 0

    @contextmanager
    def during(self, trainer: pl.Trainer) -> Iterator[None]:
        """Watch while the block runs, as all processes have to; nothing is done where there is only one."""
        self._rank, self._world = trainer.global_rank, trainer.world_size
        if self._world == 1:
            yield
            return
        self._first = self._rank - trainer.local_rank  # of this machine
        self._parent = os.getppid() if is_started_by_lightning() else 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file("done", self._rank).unlink(missing_ok=True)
        self._file("alive", self._rank).touch()
        others = range(1, self._world) if self._rank == 0 else [0]
        limit = 0 if is_spread(trainer) else SILENCE if self._rank else _START
        peers = {rank: _Peer(self._file("alive", rank), limit) for rank in others}
        threading.Thread(target=self._watch, args=[peers], name="bpr-watch", daemon=True).start()
        try:
            with patch.object(subprocess_script, "_launch_process_observer", self._adopt):
                yield  # Lightning's own kills all processes, this one included, without a word
        except RuntimeError:
            time.sleep(5 * PERIOD)  # if it came of a process that died, `_watch` ends this one now
            raise
        finally:
            self._leave()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the end to what was raised, before Lightning kills what it started."""
        if not isinstance(exception, RuntimeError):
            self._leave()

    def wait(self) -> None:
        """Wait for all processes as long as they live, at the end of the block: some may have far more to do."""
        if self._world == 1:
            return
        if self._rank:
            self._file("done", self._rank).touch()
        for rank in [0] if self._rank else range(1, self._world):
            while not self._file("done", rank).exists():
                time.sleep(PERIOD / 5)
        if self._rank == 0:
            self._file("done", 0).touch()

    def _file(self, sign: str, rank: int) -> Path:
        return self._folder / f"rank{rank}.{sign}"

    def _adopt(self, children: list[Popen[bytes]]) -> None:
        self._children = children

    def _leave(self) -> None:
        self._over.set()
        for sign in ("alive", "done"):
            self._file(sign, self._rank).unlink(missing_ok=True)

    def _watch(self, peers: "dict[int, _Peer]") -> None:
        while not self._over.wait(PERIOD):
            with suppress(OSError):  # the file is gone, or the disk is away for a moment
                os.utime(self._file("alive", self._rank))
            self._look_after_family()
            for rank, peer in peers.items():
                if peer.hangs():
                    self._end(f"{self._name(rank)} has shown no sign of life for {peer.silent * PERIOD:.0f} s", rank)

    def _look_after_family(self) -> None:
        """End with a child that failed, or with the parent."""
        for rank, child in enumerate(self._children, self._rank + 1):
            status = child.poll()
            if status is not None and status < 0:
                reason = "; perhaps memory ran out" if -status == signal.SIGKILL else ""
                self._end(f"{self._name(rank)} was ended by {signal.Signals(-status).name}{reason}", rank)
            elif status:
                self._end(None, rank)  # it has said why
        if self._parent and os.getppid() != self._parent:
            said = not self._file("alive", self._first).exists()  # `_leave` was called
            self._end(None if said else f"{self._name(self._first)} was ended", self._first)

    def _name(self, rank: int) -> str:
        return f"process {rank + 1} of {self._world}"

    def _end(self, problem: str | None, gone: int) -> None:
        """End this process and those it started, after one line on each machine that has noticed."""
        if self._over.is_set():
            return
        if problem is not None and (self._rank in (0, gone + 1) or self._children):
            say(f"error: {problem}; {self._left()}")
        for child in self._children:
            child.kill()
        if gone == self._first and self._parent == os.getppid():
            os.kill(self._parent, signal.SIGKILL)
        os._exit(1)


class _Peer:
    """Another process: its file, and how many looks in a row it may stay the same before the first change; 0: any."""

    def __init__(self, alive: Path, limit: int) -> None:
        self._alive, self._limit = alive, limit
        self._pulse, self.silent = self._look(), 0

    def _look(self) -> int:
        try:
            with self._alive.open("rb") as file:  # on a network, times of closed files may be old
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return 0

    def hangs(self) -> bool:
        pulse = self._look()
        if pulse != self._pulse:
            self._pulse, self.silent, self._limit = pulse, 0, SILENCE
            return False
        self.silent += 1
        return 0 < self._limit <= self.silent
