"""The folder that Hydra makes for a run: none where it is not needed, and none that is left empty."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bpr.structures import SettingError


def without_run_folder(arguments: Sequence[str]) -> list[str]:
    """Arguments of ``refine.py`` for Hydra, so that it makes no folder of the run where ``output`` is given.

    Nor does it write settings and log then. A sweep and who gives ``hydra.run.dir`` get their folders.
    """
    result = list(arguments)
    given = [number for number, argument in enumerate(result) if re.match(r"\+*output=(?!null$)", argument)]
    asked = ("-m", "--multirun", "hydra.run.dir=", "hydra.mode=", "hydra.output_subdir=", "hydra/job_logging=")
    if given and not any(argument.startswith(asked) for argument in result):
        here = given[-1] + 1  # beside the other settings: Hydra takes none after a flag that they stand before
        result[here:here] = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
    return result


def check_run_folder(arguments: Sequence[str], name: str) -> None:
    """`SettingError` if there can be no folder for a run, of which Hydra would give a trace.

    Only the usual place is looked at, ``outputs/NAME``, with arguments that do not say another one.
    """
    if any(re.match(r"-|\+*(hydra|paths)\.", argument) for argument in arguments):
        return
    folder = Path(os.environ.get("BPR_OUTPUTS", "outputs"), name).absolute()
    try:
        with TemporaryDirectory(dir=next(path for path in (folder, *folder.parents) if path.exists())):
            return
    except OSError as error:
        remedy = "run it elsewhere, or give hydra.run.dir=DIR, or output=FILE to refine.py"
        raise SettingError(f"{folder}: no folder for the run can be made ({error.strerror}); {remedy}") from error


@contextmanager
def without_empty_folder(folder: Path) -> Iterator[None]:
    """If the block fails, remove the folder that Hydra made for a run, unless there is more in it than an empty log.

    The current folder is never removed.
    """
    try:
        yield
    except BaseException:
        settings = folder / ".hydra"
        if settings.is_dir() and folder.resolve() != Path.cwd():
            others = [path for path in folder.iterdir() if path != settings]
            if all(path.suffix == ".log" and not path.stat().st_size for path in others):
                shutil.rmtree(folder, ignore_errors=True)
        raise
