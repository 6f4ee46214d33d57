"""Pictures of figures, drawn by matplotlib, which is optional (extra ``plots``)."""

from pathlib import Path
from typing import Any

from bpr.formats.errors import FormatError
from bpr.formats.files import replacing


def new_figure(width: float, height: float) -> Any:
    """An empty `matplotlib.figure.Figure` of so many inches.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed; says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--plot needs: pip install -e '.[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def check_plot(path: Path) -> None:
    """See before any work that a picture can be written.

    Raises:
        FormatError: If its suffix is that of no picture that matplotlib writes.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    known = new_figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known:
        raise FormatError(path, None, f"--plot writes {', '.join(sorted(known))}; give the file such a suffix")


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format of the suffix; an older file is replaced when the new one is whole."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120, format=path.suffix.removeprefix("."))
