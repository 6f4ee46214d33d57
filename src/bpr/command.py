"""What the command lines of this package share: arguments, and errors that end in one line."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bpr.formats.errors import FormatError


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """A parser of ``RESULTS ANNOTATIONS [--dilation-ratio R]`` for ``python -m module``."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument(
        "results", metavar="RESULTS", type=Path, help="predictions: COCO results, JSON Lines, Cityscapes or mask folder"
    )
    made.add_argument(
        "annotations", metavar="ANNOTATIONS", type=Path, help="ground truth: COCO annotation file or gtFine folder"
    )
    made.add_argument(
        "--dilation-ratio",
        type=_ratio,
        default=0.02,
        metavar="R",
        help="boundary width of Boundary AP, as a share of the image diagonal: 0.02 for COCO (default), "
        "0.005 for Cityscapes",
    )
    return made


def exit_code(work: Callable[[], None], *also: type[Exception]) -> int:
    """Do ``work``; 0, or 2 after one line on stderr if a file cannot be used, or at an error of the kinds ``also``."""
    kinds: tuple[type[Exception], ...] = (FormatError, OSError, ModuleNotFoundError, *also)
    try:
        work()
    except kinds as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1), got {text}")
    return value
