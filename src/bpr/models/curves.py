"""The curves of a training, drawn from the CSV file of its figures."""

import csv
from pathlib import Path
from typing import Final

from pytorch_lightning.utilities import rank_zero_warn

from bpr.formats.files import replacing
from bpr.formats.protection import is_own

_AXES: Final = (
    ("loss", {"train/loss": "training", "val/loss": "validation"}),
    ("IoU", {"val/iou": "refined", "val/coarse_iou": "coarse"}),
    ("boundary F", {"val/boundary_f": "refined", "val/coarse_boundary_f": "coarse"}),
)
"""Title of each plot, and its columns with the names that people read."""


def write_curves(metrics: Path, path: Path) -> bool:
    """Plot losses, IoU and boundary F against the step, as a PNG file; an older ``path`` is replaced.

    Args:
        metrics: File of Lightning's ``CSVLogger``. Plots of which it has no figures are left out.
        path: The picture.

    Returns:
        Whether there was anything to plot.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        OSError: If a file cannot be read or written.
    """
    from matplotlib.figure import Figure

    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    plots = []
    for title, names in _AXES:
        curves = {label: [(int(r["step"]), float(r[key])) for r in rows if r.get(key)] for key, label in names.items()}
        if any(curves.values()):
            plots.append((title, curves))
    if not plots:
        return False
    figure = Figure(figsize=(4.2 * len(plots), 3.6), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
        for label, points in curves.items():
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None, label=label)
        axes.set(xlabel="step", title=title)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png", metadata={"Software": "bpr"})
    return True


def plot_curves(folder: Path) -> None:
    """Plot ``metrics.csv`` of a folder as ``curves.png`` and say so; without matplotlib, say what it needs."""
    metrics, path = folder / "metrics.csv", folder / "curves.png"
    if not metrics.is_file() or not is_free(path):
        return
    try:
        written = write_curves(metrics, path)
    except ModuleNotFoundError:
        print(f"no plot of the curves of {metrics}: it needs matplotlib, pip install -e '.[plots]'")
        return
    if written:
        print(f"curves: {path}")


def is_free(path: Path) -> bool:
    """Whether a file may be written; says so where a file that is not ours is in its place."""
    if path.exists() and not is_own(path):
        rank_zero_warn(f"{path} was not written by bpr and is left as it is; move it to have a picture there")
        return False
    return True
