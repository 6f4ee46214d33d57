"""What all command lines of this package share: arguments, and errors of their users that end in one line."""

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bpr.cli.signals import exit_at_signals_again, exit_status, interruption
from bpr.structures import SettingError

_ELSEWHERE: Final = (
    ("bpr.formats.errors", "FormatError"),
    ("bpr.models.weights", "CheckpointError"),
    ("lightning_fabric.utilities.exceptions", "MisconfigurationException"),
)
"""More errors that users can mend. They are looked up in `sys.modules`: the module of an error has been imported."""


_NO_MEMORY: Final = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""In errors of torch, of the processor, CUDA and cuDNN."""
_PEER_ENDED: Final = ("closed by peer", "reset by peer", "remote process exited")
"""What torch says where one of several processes has ended."""


def command_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of a command line, described by the docstring of its module, without the marks of reStructuredText."""
    return argparse.ArgumentParser(prog=prog, description=(description or "").replace("``", "").replace("`", ""))


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """A parser of ``RESULTS ANNOTATIONS [--dilation-ratio R]`` for ``python -m module``."""
    arguments = command_parser(f"python -m {module}", description)
    results = "predictions, in any format of refine.py"
    arguments.add_argument("results", metavar="RESULTS", type=Path, help=results)
    annotations = "ground truth: COCO annotation file or gtFine folder"
    arguments.add_argument("annotations", metavar="ANNOTATIONS", type=Path, help=annotations)
    width = "boundary width of Boundary AP, as a share of the image diagonal"
    ratio = f"{width}; default: 0.005 for Cityscapes' folders, else 0.02"
    arguments.add_argument("--dilation-ratio", type=_ratio, metavar="R", help=ratio)
    return arguments


def at_least(lowest: int, at_most: float = math.inf) -> Callable[[str], int]:
    """The type of an argument that is a whole number, ``lowest`` to ``at_most``."""

    def whole_number(text: str) -> int:
        if not lowest <= int(text) <= at_most:
            bound = f"at least {lowest}" if int(text) < lowest else f"at most {at_most}"
            raise argparse.ArgumentTypeError(f"must be {bound}, got {text}")
        return int(text)

    return whole_number


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things, for people: ``1 image``, ``2 images``; ``many`` where an ``s`` alone is not the plural."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def add_overwrite(options: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``, without which a command replaces no file."""
    options.add_argument("--overwrite", action="store_true", help="replace files that exist")


def exit_code(work: Callable[[], None], *also: type[Exception]) -> int:
    """Do ``work``, the body of a command; errors ``also`` are the user's, besides those of `one_line_errors`.

    Returns:
        0, or 2 after one line on stderr where the user can mend what went wrong.
    """
    try:
        work()
    except Exception as error:
        problem = _one_line(error) if isinstance(error, also) else user_problem(error)
        if problem is None:
            raise
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process after one line on stderr, with exit status 1, where the user can mend what went wrong.

    That are wrong files, weights and settings, missing packages, and what the operating system refuses, also where
    Hydra met them while it built something. SIGTERM ends with 143 and Ctrl-C with 130, as shells expect. All other
    errors are bugs and keep their traceback.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if (cause := interruption(error)) is not None:
            sys.exit(exit_status(cause))
        if type(error).__name__ == "SIGTERMException":
            sys.exit(128 + signal.SIGTERM)
        raise
    except Exception as error:
        problem = user_problem(error)
        if problem is None:
            raise
        sys.exit(f"error: {problem}")
    finally:
        exit_at_signals_again()


def user_problem(error: BaseException) -> str | None:
    """What a user can mend, in one line; None if the error is a bug."""
    elsewhere = [getattr(sys.modules[module], name) for module, name in _ELSEWHERE if module in sys.modules]
    if isinstance(error, (SettingError, ModuleNotFoundError, OSError, *elsewhere)):
        return _one_line(error)
    if is_out_of_memory(error):
        remedy = "give a smaller patches_per_forward or images_per_batch (refine.py), or data.batch_size (train.py)"
        return f"memory ran out ({_one_line(error)[:200] or 'of this machine'}); {remedy}"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _PEER_ENDED):  # of gloo and NCCL
        return f"another process of this run has ended; perhaps memory ran out ({_one_line(error)})"
    if type(error).__name__ == "InstantiationException":  # Hydra's, around what a constructor raised
        cause = error.__cause__
        if cause is not None:
            return _one_line(cause) if type(cause) is ValueError else user_problem(cause)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, perhaps of torch, says that memory ran out."""
    of_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    return of_torch or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def printable(text: str) -> str:
    """Text, perhaps from a file, in which what is no character, or commands a terminal, is written as Python does."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1), got {text}")
    return value
