"""``python -m bpr.benchmark.placement``: AP and Boundary AP against patches per image, for every way to place them."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bpr.benchmark.measure import add_network_options, load_network, refine_workload
from bpr.benchmark.plots import check_plot, new_figure, write_figure
from bpr.benchmark.workload import Workload
from bpr.command import exit_code
from bpr.evaluation.scores import evaluate
from bpr.formats.coco import open_results, write_results
from bpr.formats.files import replacing
from bpr.formats.protection import Inputs
from bpr.models.weights import CheckpointError
from bpr.structures import PatchSpec, Placement

CURVES: Final[dict[tuple[Placement, str], tuple[float, ...]]] = {
    (Placement.nms, "nms_iou"): (0.15, 0.25, 0.35, 0.55),
    (Placement.contour, "spacing"): (64, 48),
    (Placement.cover, "margin"): (0, 4, 8, 12),
}
"""Each method with the values of its setting that are measured, fewest patches first."""

Point = dict[str, Any]
"""``placement``, ``setting``, ``value``, ``patches_per_image``, and the scores ``ap`` and ``boundary_ap`` in [0, 1]."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and draw; 0, or 2 if a file cannot be used."""
    options = argparse.ArgumentParser(prog="python -m bpr.benchmark.placement", description=__doc__)
    add_network_options(options)
    options.add_argument("--images", type=Path, required=True, metavar="DIR")
    options.add_argument("--predictions", type=Path, required=True, metavar="FILE", help="COCO results")
    options.add_argument("--annotations", type=Path, required=True, metavar="FILE", help="COCO ground truth")
    options.add_argument("--min-score", type=float, default=0.0, metavar="S", help="leave out predictions below")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write the points")
    options.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves (extra plots)")
    chosen = options.parse_args(arguments)

    def work() -> None:
        inputs = Inputs.of([chosen.predictions, chosen.annotations, Path(chosen.ckpt)], chosen.images)
        for name in ("json", "plot"):
            if getattr(chosen, name) is not None:
                inputs.check_file(getattr(chosen, name), argument=f"--{name}")
        if chosen.plot is not None:
            check_plot(chosen.plot)
        points = _measure_all(chosen)
        if chosen.json is not None:
            with replacing(chosen.json) as unfinished:
                unfinished.write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
        if chosen.plot is not None:
            draw(points, chosen.plot)

    return exit_code(work, CheckpointError)


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the curves as a picture, whose suffix decides the format.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed; says how to install it.
    """
    figure = new_figure(9, 3.8)
    for axes, key, title in zip(figure.subplots(1, 2), ("ap", "boundary_ap"), ("AP", "Boundary AP"), strict=True):
        for (placement, setting), marker in zip(CURVES, "os^", strict=False):
            curve = [(p["patches_per_image"], 100 * p[key], p["value"]) for p in points if p["placement"] == placement]
            axes.plot(*list(zip(*curve, strict=True))[:2], marker=marker, label=f"{placement} ({setting})")
            for x, y, value in curve:
                axes.annotate(f"{value:g}", (x, y), (0, 5), textcoords="offset points", fontsize=7, ha="center")
        axes.set(xlabel="patches per image", ylabel=title)
        axes.grid(alpha=0.3)
        axes.legend()
    write_figure(figure, path)


def _measure_all(chosen: argparse.Namespace) -> list[Point]:
    """All points, the coarse masks first; each is printed as soon as it is known."""
    refiner, points = load_network(chosen), []
    print("placement  setting        patches/image     AP  Boundary AP")
    settings = [(placement, name, value) for (placement, name), values in CURVES.items() for value in values]
    with TemporaryDirectory() as folder:
        coarse, refined = Path(folder) / "coarse.json", Path(folder) / "refined.json"
        write_results(coarse, (e for e in open_results(chosen.predictions) if e["score"] >= chosen.min_score))
        workload = Workload(str(chosen.predictions), chosen.images, coarse)
        for placement, name, value in [(None, "", 0.0), *settings]:
            per_image = 0.0
            if placement is not None:
                spec = PatchSpec(placement=placement, **{name: value})  # type: ignore[arg-type]
                method = replace(refiner.inference.method, spec=spec)
                refiner.inference = replace(refiner.inference, method=method)
                done, _ = refine_workload(refiner, workload, chosen.device, refined)
                per_image = done.patches / done.images
            scores = evaluate(coarse if placement is None else refined, chosen.annotations).scores
            ap, boundary_ap = scores.mask.ap or 0.0, scores.boundary.ap or 0.0
            point = {"placement": placement or "coarse", "setting": name, "value": value}
            points.append(point | {"patches_per_image": per_image, "ap": ap, "boundary_ap": boundary_ap})
            setting = f"{name}={value:g}" if name else ""
            cells = f"{per_image:13.1f}  {100 * ap:5.2f}  {100 * boundary_ap:11.2f}"
            print(f"{point['placement']:9}  {setting:13}  {cells}", flush=True)
    return points


if __name__ == "__main__":
    sys.exit(main())
