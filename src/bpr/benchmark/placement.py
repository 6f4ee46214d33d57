"""``python -m bpr.benchmark.placement``: AP and Boundary AP against patches per image, for every way to place them."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from bpr.benchmark.measure import refine_workload
from bpr.benchmark.workload import Workload
from bpr.evaluation.scores import evaluate
from bpr.formats.coco import open_results, write_results
from bpr.formats.errors import FormatError
from bpr.formats.files import replacing
from bpr.formats.outputs import Inputs
from bpr.models.refiner import PatchRefiner, load_refiner
from bpr.models.weights import CheckpointError, resolve_checkpoint
from bpr.structures import Backend, PatchSpec, Placement


@dataclass(frozen=True, slots=True)
class Curve:
    """One method with the values of its setting that are measured, fewest patches first."""

    placement: Placement
    setting: str
    values: tuple[float, ...]

    def specs(self) -> list[PatchSpec]:
        """The settings of each point."""
        return [PatchSpec(placement=self.placement, **{self.setting: value}) for value in self.values]  # type: ignore[arg-type]


CURVES: Final = (
    Curve(Placement.nms, "nms_iou", (0.15, 0.25, 0.35, 0.55)),
    Curve(Placement.contour, "spacing", (64, 48)),
    Curve(Placement.cover, "margin", (0, 4, 8, 12)),
)

_SCORES: Final = {"ap": "AP", "boundary_ap": "Boundary AP"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the JSON file yet, and draw; 0, or 2 if a file cannot be used."""
    chosen = _parse(arguments)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    try:
        inputs = Inputs.of([chosen.predictions, chosen.annotations, Path(chosen.ckpt)], chosen.images)
        inputs.check_file(chosen.json, argument="--json")
        if chosen.plot is not None:
            inputs.check_file(chosen.plot, argument="--plot")
        points = _measure_all(chosen)
        if chosen.plot is not None:
            draw(points, chosen.plot)
    except (FormatError, CheckpointError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(format_points(points))
    return 0


def format_points(points: Sequence[dict[str, Any]]) -> str:
    """A table of the points, scores in percent."""
    lines = ["placement  setting        patches/image     AP  Boundary AP"]
    for point in points:
        setting = f"{point['setting']}={point['value']:g}" if point["setting"] else ""
        lines.append(
            f"{point['placement']:9}  {setting:13}  {point['patches_per_image']:13.1f}  {100 * point['ap']:5.2f}  "
            f"{100 * point['boundary_ap']:11.2f}"
        )
    return "\n".join(lines)


def draw(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the curves as a picture.

    Args:
        points: As in the JSON file.
        path: The file; its suffix decides the format.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed; says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--plot needs: pip install 'bpr[plots]'") from error
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), _SCORES.items(), strict=True):
        for curve, marker in zip(CURVES, "os^", strict=False):
            mine = [point for point in points if point["placement"] == curve.placement]
            xs, ys = [point["patches_per_image"] for point in mine], [100 * point[key] for point in mine]
            axes.plot(xs, ys, marker=marker, label=f"{curve.placement} ({curve.setting})")
            for x, y, point in zip(xs, ys, mine, strict=True):
                axes.annotate(
                    f"{point['value']:g}", (x, y), (0, 5), textcoords="offset points", fontsize=7, ha="center"
                )
        axes.set(xlabel="patches per image", ylabel=title)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120, format=path.suffix.removeprefix("."))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bpr.benchmark.placement", description=__doc__)
    options.add_argument("--images", type=Path, required=True, metavar="DIR")
    options.add_argument("--predictions", type=Path, required=True, metavar="FILE", help="COCO results")
    options.add_argument("--annotations", type=Path, required=True, metavar="FILE", help="COCO ground truth")
    options.add_argument("--min-score", type=float, default=0.0, metavar="S", help="leave out predictions below")
    options.add_argument("--ckpt", default="hrnet18s", help="weights (default: hrnet18s)")
    options.add_argument("--backend", choices=[b.value for b in Backend], default="eager", help="how the network runs")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--threads", type=int, default=None, metavar="N", help="CPU threads of torch")
    options.add_argument(
        "--json", type=Path, required=True, metavar="FILE", help="points; those in it are not repeated"
    )
    options.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves (extra plots)")
    return options.parse_args(arguments)


def _measure_all(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """All points, the coarse masks first; the file is written after each."""
    measured = json.loads(chosen.json.read_text(encoding="utf-8")) if chosen.json.exists() else []
    refiner = load_refiner(resolve_checkpoint(chosen.ckpt), backend=Backend(chosen.backend))
    points = []
    with TemporaryDirectory() as folder:
        coarse = Path(folder) / "coarse.json"
        kept = (entry for entry in open_results(chosen.predictions) if entry["score"] >= chosen.min_score)
        write_results(coarse, kept)
        workload = Workload(str(chosen.predictions), chosen.images, coarse)
        for name, value, spec in [("", 0.0, None), *_settings()]:
            placement = "coarse" if spec is None else spec.placement.value
            found = [p for p in measured if (p["placement"], p["setting"], p["value"]) == (placement, name, value)]
            if found:
                points.append(found[0])
                continue
            scores = _scores(refiner, workload, spec, chosen)
            points.append({"placement": placement, "setting": name, "value": value, **scores})
            print(format_points(points[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
            with replacing(chosen.json) as unfinished:
                unfinished.write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    return points


def _settings() -> list[tuple[str, float, PatchSpec]]:
    return [(c.setting, v, spec) for c in CURVES for v, spec in zip(c.values, c.specs(), strict=True)]


def _scores(
    refiner: PatchRefiner, workload: Workload, spec: PatchSpec | None, chosen: argparse.Namespace
) -> dict[str, float]:
    """Scores in [0, 1] of the masks refined with patches so placed; of the coarse masks without a ``spec``."""
    refined, per_image = workload.predictions, 0.0
    if spec is not None:
        refined = workload.predictions.with_name("refined.json")
        run = refine_workload(refiner, workload, spec, chosen.device, refined)
        per_image = run.patches / run.images
    scores = evaluate(refined, chosen.annotations).scores
    return {"patches_per_image": per_image, "ap": scores.mask.ap or 0.0, "boundary_ap": scores.boundary.ap or 0.0}


if __name__ == "__main__":
    sys.exit(main())
