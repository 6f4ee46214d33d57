"""``bpr COMMAND [arguments]``, also ``python -m bpr``: short names for the scripts and modules."""

import runpy
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple


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
        Exit status: that of the command, 0 after help, 2 for an unknown command.
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
        print(f"error: unknown command {name!r}\n\n{usage()}", file=sys.stderr)
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


def script_path(name: str) -> Path:
    """The script of this name, beside its ``conf``: at the root of a checkout, or in ``bpr/_scripts`` of a wheel.

    Raises:
        FileNotFoundError: If it is in neither place, because the package was copied by other means.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_scripts", package.parents[1]):
        if (folder / f"{name}.py").is_file() and (folder / "conf" / f"{name}.yaml").is_file():
            return folder / f"{name}.py"
    raise FileNotFoundError(
        f"{name}.py and conf/{name}.yaml are neither in {package / '_scripts'} nor in {package.parents[1]}: "
        "install the checkout (pip install -e .) or a wheel built from it"
    )


def run_script(name: str, arguments: Sequence[str]) -> int:
    """Run a script as ``python NAME.py ARGUMENTS`` does, in this process.

    Other processes of the same run (several devices) are started by Lightning from ``sys.argv``, hence its path there.
    """
    path = str(script_path(name))
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")
    return 0


COMMANDS = {
    "refine": Command("refine the masks of any segmenter (alone: a demo)", lambda given: run_script("refine", given)),
    "train": Command("train a patch segmenter", lambda given: run_script("train", given)),
    "evaluate": Command("score a results file", lambda given: run_module("bpr.evaluation.__main__", given)),
    "export": Command("write a network as ONNX", lambda given: run_module("bpr.models.export", given)),
    "stress": Command("see for which masks refining helps", lambda given: run_module("bpr.benchmark.stress", given)),
    "benchmark": Command("measure speed and memory", lambda given: run_module("bpr.benchmark.__main__", given)),
}

if __name__ == "__main__":
    sys.exit(main())
