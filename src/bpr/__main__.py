"""``bpr COMMAND [arguments]``, also ``python -m bpr``: short names for the scripts and modules."""

import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

COMMANDS = {
    "refine": ("refine.py", "refine the masks of any segmenter (alone: a demo)"),
    "app": ("bpr.app.__main__", "draw or load masks on a page, and refine them"),
    "train": ("train.py", "train a patch segmenter"),
    "evaluate": ("bpr.evaluation.__main__", "score a results file"),
    "export": ("bpr.models.export", "write a network as ONNX, or quantised for OpenVINO"),
    "stress": ("bpr.benchmark.stress", "see for which masks refining helps"),
    "benchmark": ("bpr.benchmark.__main__", "measure speed and memory"),
    "label-studio": ("bpr.integrations.label_studio.__main__", "refine regions in Label Studio"),
}
"""The script or module that each name stands for, and a line on it for ``bpr --help``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument (by default of the command line) names.

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
    target, _ = COMMANDS[name]
    if target.endswith(".py"):
        run_script(target, rest)
        return 0
    status: int = import_module(target).main(rest)
    return status


def usage() -> str:
    """All commands, with a line on each."""
    lines = [f"  {name:<13}{summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(["usage: bpr COMMAND [arguments]", "", *lines, "", "bpr COMMAND --help says more."])


def script_path(name: str) -> Path:
    """The script of this name, beside its ``conf``: at the root of a checkout, or in ``bpr/_scripts`` of a wheel."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_scripts", package.parents[1]):
        if (folder / name).is_file() and (folder / "conf").is_dir():
            return folder / name
    raise FileNotFoundError(
        f"{name} and conf are neither in {package / '_scripts'} nor in {package.parents[1]}: "
        "install the checkout (pip install -e .) or a wheel built from it"
    )


def run_script(name: str, arguments: Sequence[str]) -> None:
    """Run a script as ``python NAME ARGUMENTS`` does, in this process.

    Other processes of the same run (several devices) are started by Lightning from ``sys.argv``, hence its path there.
    """
    path = str(script_path(name))
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
