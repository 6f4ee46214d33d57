"""What Ctrl-C and SIGTERM do to a script: it ends without a traceback, with the exit status that shells expect.

A script calls `exit_at_signals` before its imports, some of which turn an exception into another one or lose it, and
`raise_at_signals` after them, so that what is under way can be kept and temporary files go. This module imports nothing
that takes time.
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_ours: Final = set[signal.Signals]()


class Interruption(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    Attributes:
        status: Exit status that shells expect: 130 or 143.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def exit_at_signals() -> None:
    """Let both end the process at once and without a word, as far as they are not ignored (``nohup``) or taken.

    A process that Lightning has started beside the first one ignores them from here on: the first one ends it.
    """
    handler = signal.SIG_IGN if is_started_by_lightning() else _exit
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, handler)
            if handler is _exit:
                _ours.add(number)


def exit_at_signals_again() -> None:
    """The same once the work is done or given up, while threads and libraries end."""
    with suppress(OSError, ValueError):  # a closed pipe, a closed file
        sys.stdout.flush()
    for number in _ours:
        signal.signal(number, _exit)


def raise_at_signals() -> None:
    """Let both raise an `Interruption`, the first time, where `exit_at_signals` was called; also after Lightning.

    In a prediction or training of several processes, Lightning's own handler of SIGTERM waits for all of them.
    """
    for number in _ours:
        signal.signal(number, _raise)


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """What interrupted the process, if ``error`` comes of that; Lightning ends with an exit status of its own."""
    cause = error.__context__ if isinstance(error, SystemExit) else error
    return cause if isinstance(cause, KeyboardInterrupt) else None


def exit_status(error: KeyboardInterrupt) -> int:
    """128 and the number of the signal."""
    return error.status if isinstance(error, Interruption) else 128 + signal.SIGINT


def is_started_by_lightning() -> bool:
    """Whether Lightning has started this process beside the first one of this machine."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ


def say(line: str) -> None:
    """Print a line on stderr, below a progress bar if there may be one."""
    print(f"\n{line}" if sys.stderr.isatty() else line, file=sys.stderr)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _ours:
        signal.signal(other, signal.SIG_IGN)  # nothing interrupts the end of the process
    raise Interruption(number)
