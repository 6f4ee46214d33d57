"""``bpr COMMAND [arguments]``: short names for the scripts and for ``python -m bpr.evaluation``."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from bpr.scripts import run_script


class Command(NamedTuple):
    """What a name stands for.

    Attributes:
        summary: One line for ``bpr --help``.
        run: Does it with the arguments after the name; returns the exit status.
    """

    summary: str
    run: Callable[[Sequence[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names.

    Args:
        arguments: By default those of the command line.

    Returns:
        Exit status: that of the command, 0 after help, 2 if there is no such command.
    """
    given = sys.argv[1:] if arguments is None else arguments
    name, *rest = given or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"bpr {version('bpr')}")
        return 0
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    return COMMANDS[name].run(rest)


def usage() -> str:
    """All commands, with a line on each."""
    lines = [f"  {name:<10}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: bpr COMMAND [arguments]", "", *lines, "", "bpr COMMAND --help says more."])


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Call ``main`` of a module with the arguments."""
    status: int = import_module(name).main(arguments)
    return status


COMMANDS = {
    "refine": Command("refine the masks of any segmenter", lambda given: run_script("refine", given)),
    "train": Command("train a patch segmenter", lambda given: run_script("train", given)),
    "evaluate": Command("score a results file", lambda given: run_module("bpr.evaluation.__main__", given)),
    "export": Command("write a network as ONNX", lambda given: run_module("bpr.export", given)),
    "benchmark": Command("measure speed and memory", lambda given: run_module("bpr.benchmark.__main__", given)),
    "demo": Command("refine the embedded demo", lambda given: run_script("refine", given)),
}
