"""``python -m bpr.benchmark.placement``: AP and Boundary AP against patches per image, for every way to place them."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bpr.benchmark.measure import add_network_options, load_network, refine_workload
from bpr.benchmark.workload import Workload
from bpr.cli.command import exit_code
from bpr.evaluation.scores import evaluate
from bpr.formats.coco import open_results, write_results
from bpr.structures import PatchSpec, Placement

SETTINGS: Final[Sequence[tuple[Placement, str, float]]] = (
    *((Placement.nms, "nms_iou", value) for value in (0.15, 0.25, 0.35, 0.55)),
    *((Placement.contour, "spacing", value) for value in (64, 48)),
    *((Placement.cover, "margin", value) for value in (0, 4, 8, 12)),
)
"""Each method with the values of its setting that are measured, fewest patches first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 if a file cannot be used."""
    options = argparse.ArgumentParser(prog="python -m bpr.benchmark.placement", description=__doc__)
    add_network_options(options)
    options.add_argument("--images", type=Path, required=True, metavar="DIR")
    options.add_argument("--predictions", type=Path, required=True, metavar="FILE", help="COCO results")
    options.add_argument("--annotations", type=Path, required=True, metavar="FILE", help="COCO ground truth")
    options.add_argument("--min-score", type=float, default=0.0, metavar="S", help="leave out predictions below")
    chosen = options.parse_args(arguments)
    return exit_code(lambda: _measure_all(chosen))


def _measure_all(chosen: argparse.Namespace) -> None:
    """Print a line for each setting, the coarse masks first, as soon as it is known."""
    refiner = load_network(chosen)
    rounds = refiner.segmenter.rounds
    print("placement  setting        patches/image     AP  Boundary AP")
    with TemporaryDirectory() as folder:
        coarse, refined = Path(folder) / "coarse.json", Path(folder) / "refined.json"
        write_results(coarse, (e for e in open_results(chosen.predictions) if e.get("score", 1) >= chosen.min_score))
        workload = Workload(str(chosen.predictions), chosen.images, coarse, chosen.annotations)
        for placement, name, value in [(None, "", 0.0), *SETTINGS]:
            per_image = 0.0
            if placement is not None:
                spec = PatchSpec(placement=placement, **{name: value})  # type: ignore[arg-type]
                method = replace(refiner.inference.method, spec=spec, rounds=rounds)
                refiner.inference = replace(refiner.inference, method=method)
                done, _ = refine_workload(refiner, workload, chosen.device, refined)
                per_image = done.patches / done.images
            scores = evaluate(coarse if placement is None else refined, chosen.annotations).scores
            ap, boundary_ap = scores.mask.ap or 0.0, scores.boundary.ap or 0.0
            setting = f"{name}={value:g}" if name else ""
            cells = f"{per_image:13.1f}  {100 * ap:5.2f}  {100 * boundary_ap:11.2f}"
            print(f"{placement or 'coarse':9}  {setting:13}  {cells}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
