"""The scripts at the root of a checkout, which a wheel holds too."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path


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
