"""``python -m bpr.benchmark.presets``: seconds per image, AP and Boundary AP of each preset, in one run.

Beside them, measured in the same run: refining in the paper's one round, and refiners without a network. With
``--placements`` it is every way to place patches instead.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final, NamedTuple

import torch

from bpr import rle
from bpr.benchmark.classical import grab_cut, guided_filter
from bpr.benchmark.measure import add_network_options, load_network, refine_workload
from bpr.benchmark.plots import check_plot, new_figure, write_figure
from bpr.benchmark.workload import Workload
from bpr.cli.command import add_overwrite, command_parser, exit_code
from bpr.data.images import read_image
from bpr.data.inputs import read_input
from bpr.evaluation.scores import evaluate
from bpr.formats.coco import new_entry, open_results, write_results
from bpr.formats.errors import FormatError
from bpr.formats.protection import Inputs
from bpr.models.backends import cache_folder
from bpr.models.refiner import PatchRefiner
from bpr.models.weights import change_trust
from bpr.patches.engine import Method
from bpr.patches.presets import Preset
from bpr.structures import PAPERS_ROUNDS, Image, Mask, PatchSpec, Placement, Round, Window
from bpr.synthetic.demo import make_demo

Classical = Callable[[Image, Mask, Window], Mask]


class Line(NamedTuple):
    """What was measured of one way to refine: AP and Boundary AP in percent, patches and seconds per image."""

    name: str
    patches: float
    seconds: float
    ap: float
    boundary_ap: float


_CLASSICAL: Final[dict[str, Classical]] = {"guided filter": guided_filter, "GrabCut": grab_cut}
_PAPER: Final = "paper"
PLACEMENTS: Final = {
    **{f"nms_iou={value}": PatchSpec(nms_iou=value) for value in (0.15, 0.25, 0.35, 0.55)},
    **{f"spacing={value}": PatchSpec(placement=Placement.contour, spacing=value) for value in (64, 48)},
    **{f"margin={value}": PatchSpec(margin=value) for value in (0, 4, 8, 12)},
}
"""Of each `Placement` the values of its setting that are measured, fewest patches first."""
_HEAD: Final = f"{'':16}  patches/image  s/image     AP  Boundary AP"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 if a file cannot be used."""
    options = command_parser("python -m bpr.benchmark.presets", __doc__)
    add_network_options(options)
    options.add_argument("--images", type=Path, metavar="DIR", help="by default generated ones of 2048 x 1024 px")
    options.add_argument("--predictions", type=Path, metavar="FILE", help="COCO results")
    options.add_argument("--annotations", type=Path, metavar="FILE", help="COCO ground truth")
    options.add_argument("--min-score", type=float, default=0.0, metavar="S", help="leave out predictions below")
    options.add_argument("--placements", action="store_true", help="measure every way to place patches instead")
    options.add_argument("--plot", type=Path, metavar="FILE", help="also draw gain against time")
    add_overwrite(options)
    chosen = options.parse_args(arguments)
    if len({chosen.images is None, chosen.predictions is None, chosen.annotations is None}) > 1:
        options.error("give all of --images, --predictions and --annotations, or none")
    return exit_code(partial(_work, chosen))


def _work(chosen: argparse.Namespace) -> None:
    if chosen.images is None:
        chosen = argparse.Namespace(**vars(chosen) | asdict(make_demo(cache_folder() / "demo", "large")))
    if chosen.plot is not None:
        check_plot(chosen.plot)
        inputs = Inputs.of([chosen.predictions, chosen.annotations, Path(chosen.ckpt)], chosen.images)
        inputs.check_file(chosen.plot, chosen.overwrite, "--plot")
    refiner = load_network(chosen)
    print(_HEAD)
    with TemporaryDirectory() as folder:
        lines = list(_measure_all(chosen, refiner, Path(folder)))
    if chosen.plot is not None:
        _draw(lines, chosen.plot)


def methods(own: tuple[Round, ...], input_size: int) -> dict[str, Method]:
    """The paper's (without trust), and that of each preset, for weights whose own rounds are ``own``."""
    found = {_PAPER: Method(PatchSpec(placement=Placement.nms), PAPERS_ROUNDS, input_size)}
    for preset in Preset:
        found[f"preset={preset}"] = Method(preset.patches(PatchSpec()), preset.rounds(own), input_size)
    return found


def placements(own: tuple[Round, ...], input_size: int) -> dict[str, Method]:
    """One for each of `PLACEMENTS`, for weights whose own rounds are ``own``."""
    return {name: Method(spec, own, input_size) for name, spec in PLACEMENTS.items()}


def _measure_all(chosen: argparse.Namespace, refiner: PatchRefiner, folder: Path) -> Iterator[Line]:
    """Measure each way to refine, the coarse masks first, and print its line as soon as it is known."""
    coarse, refined = folder / "coarse.json", folder / "refined.json"
    scored = ((entry, entry.get("score")) for entry in open_results(chosen.predictions))
    entries = [entry for entry, score in scored if score is None or score >= chosen.min_score]
    if not entries:
        raise FormatError(chosen.predictions, None, f"has no prediction with a score of {chosen.min_score} or more")
    write_results(coarse, entries)
    workload = Workload(str(chosen.predictions), chosen.images, coarse, chosen.annotations)
    truth = chosen.annotations
    yield _said("coarse", 0, 0, coarse, truth)
    for name, refine in () if chosen.placements else _CLASSICAL.items():
        yield _said(name, 0, _refine_classically(workload, refine, refined), refined, truth)
    plain = PatchRefiner(change_trust(refiner.segmenter, False)).eval().to(chosen.device)
    patch = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 64, 64, dtype=torch.bool)
    wanted = placements if chosen.placements else methods
    for name, method in wanted(refiner.segmenter.rounds, refiner.segmenter.input_size).items():
        used = plain if name == _PAPER else refiner
        used.inference = replace(refiner.inference, method=method)
        with torch.inference_mode():
            used.predict_patches(*(part.to(used.device) for part in patch))  # a backend may have to convert it first
        done, seconds = refine_workload(used, workload, chosen.device, refined)
        yield _said(name, done.patches / done.images, seconds / done.images, refined, truth)


def _said(name: str, patches: float, seconds: float, results: Path, annotations: Path) -> Line:
    scores = evaluate(results, annotations).scores
    line = Line(name, patches, seconds, 100 * (scores.mask.ap or 0), 100 * (scores.boundary.ap or 0))
    cells = f"{line.patches:13.1f}  {line.seconds:7.3f}  {line.ap:5.2f}  {line.boundary_ap:11.2f}"
    print(f"{name:16}  {cells}", flush=True)
    return line


def _refine_classically(workload: Workload, refine: Classical, output: Path) -> float:
    """Refine a workload from its files to the file ``output``; gives the seconds per image."""
    start = perf_counter()
    records = read_input(workload.images, workload.predictions, workload.annotations).records
    found = []
    for record in records:
        pixels = read_image(record.path, record.size, record.exif)
        for one in record.instances:
            mask = refine(pixels, rle.decode(one.rle), rle.bounding_box(one.rle))
            entry = new_entry(record.image_id, one.category, rle.encode(mask), one.score)
            found.append((one.position, entry))
    write_results(output, (entry for _, entry in sorted(found, key=lambda pair: pair[0])))
    return (perf_counter() - start) / len(records)


def _draw(lines: Sequence[Line], path: Path) -> None:
    """Boundary AP that each line gained over the first, against its milliseconds per image."""
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    base, *measured = lines
    for with_network, group in groupby(measured, lambda line: line.patches > 0):
        points = list(group)
        times, gains = [1000 * p.seconds for p in points], [p.boundary_ap - base.boundary_ap for p in points]
        axes.scatter(times, gains, label="with the network" if with_network else "without a network")
        for point, x, y in zip(points, times, gains, strict=True):
            axes.annotate(point.name, (x, y), xytext=(6, 4), textcoords="offset points")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(x=0.4, y=0.15)
    axes.set_xlabel("milliseconds per image")
    axes.set_ylabel("Boundary AP gained")
    axes.legend(loc="lower right")
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
