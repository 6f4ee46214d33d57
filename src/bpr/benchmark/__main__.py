"""``python -m bpr.benchmark``: patches per second of the bare network and of the whole refinement, in one run."""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bpr.benchmark.measure import Measurement, as_json, best_batch_size, measure, start_up
from bpr.benchmark.processes import compare_networks, scaling
from bpr.benchmark.workload import SCENES, Workload, first_images, generate
from bpr.formats.errors import FormatError
from bpr.formats.files import replacing
from bpr.formats.outputs import Inputs
from bpr.models.refiner import load_refiner
from bpr.models.weights import CheckpointError, resolve_checkpoint
from bpr.structures import Backend, PatchSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print or write; 0, or 2 if a file cannot be used."""
    chosen = _parse(arguments)
    try:
        if chosen.json is not None:
            given = [Path(p) for p in (chosen.predictions, chosen.ckpt) if p is not None]
            Inputs.of(given, chosen.images).check_file(chosen.json, argument="--json")
        with tempfile.TemporaryDirectory() as folder:
            return _run(chosen, Path(folder))
    except (FormatError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bpr.benchmark", description=__doc__)
    options.add_argument("--images", type=Path, metavar="DIR", help="images to measure on; generated ones by default")
    options.add_argument("--predictions", type=Path, metavar="FILE", help="their coarse masks")
    options.add_argument("--max-images", type=int, metavar="N", help="of those, the first N with predictions")
    options.add_argument("--ckpt", default="hrnet18s", help="weights (default: hrnet18s)")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--threads", type=int, default=None, metavar="N", help="CPU threads of torch")
    options.add_argument("--backend", choices=[b.value for b in Backend], default="eager", help="how the network runs")
    options.add_argument(
        "--against", choices=[b.value for b in Backend], help="also compare the bare network with this backend"
    )
    options.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: 3)")
    options.add_argument(
        "--processes", type=int, metavar="N", help="also compare N CPU processes of one thread each with one of them"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="also write all figures")
    chosen = options.parse_args(arguments)
    if (chosen.images is None) != (chosen.predictions is None):
        options.error("give both, --images and --predictions, or neither")
    if chosen.max_images is not None and (chosen.images is None or chosen.max_images < 1):
        options.error("--max-images must be at least 1, and goes with --images")
    if chosen.processes is not None and (chosen.processes < 2 or chosen.device != "cpu"):
        options.error("--processes must be at least 2, and goes with --device cpu")
    if chosen.rounds < 1 or (chosen.threads is not None and chosen.threads < 1):
        options.error("--rounds and --threads must be at least 1")
    return chosen


def _run(chosen: argparse.Namespace, folder: Path) -> int:
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    spec, refiner = PatchSpec(), load_refiner(resolve_checkpoint(chosen.ckpt), backend=Backend(chosen.backend))
    workloads = _workloads(chosen, folder)
    refiner.to(chosen.device)
    batch_size = best_batch_size(refiner, workloads[0], spec, chosen.device)
    measured = [measure(refiner, w, spec, chosen.device, batch_size, chosen.rounds) for w in workloads]
    single = [measure(refiner, w, spec, chosen.device, 1, 1) for w in workloads]
    setting = {
        "ckpt": str(chosen.ckpt),
        "device": chosen.device,
        "backend": chosen.backend,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
    }
    content = as_json(measured, single, setting)
    start = start_up(workloads[0], chosen.ckpt, chosen.device)
    content["start_to_first_patches_s"], content["start_to_end_s"] = start.first_patches, start.whole
    if chosen.against is not None:
        both = [Backend(chosen.backend), Backend(chosen.against)]
        ours, theirs = compare_networks(workloads[0], chosen.ckpt, both, chosen.device, chosen.rounds)
        content["against"] = {"backend": chosen.against, "patches_per_s": theirs, "own_patches_per_s": ours}
    if chosen.processes is not None:
        backend = Backend(chosen.backend)
        content["scaling"] = scaling(workloads[0], chosen.ckpt, backend, batch_size, chosen.processes)
    print(_report(measured, single, content))
    if chosen.json is not None:
        with replacing(chosen.json) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


def _workloads(chosen: argparse.Namespace, folder: Path) -> list[Workload]:
    if chosen.images is None:
        return [generate(folder, scene) for scene in SCENES]
    given = Workload(chosen.predictions.name, chosen.images, chosen.predictions)
    return [first_images(given, chosen.max_images, folder)]


def _report(measured: Sequence[Measurement], single: Sequence[Measurement], content: dict[str, Any]) -> str:
    setting = [content["ckpt"], content["device"], content["backend"], f"{content['threads']} threads"]
    lines = [", ".join([*setting, content["machine"]])]
    for kind in (measured, single):
        lines.append(f"patches/s with batches of {kind[0].batch_size}: network, whole, ratio; all but the network")
        lines += [
            f"  {m.workload}: {m.limit_patches_per_s:.1f}, {m.refine_patches_per_s:.1f}, {m.ratio:.3f}; "
            f"{m.around_patches_per_s:.0f} ({m.images} images, {m.instances} instances, {m.patches} patches)"
            for m in kind
        ]
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in content["stages_s"].items())
    lines.append(f"seconds by stage, batches of {measured[0].batch_size}: {stages}")
    peak = ", ".join(f"{name} {mb:.0f} MB" for name, mb in content["peak_rss_mb_of_processes"].items())
    lines.append(f"peak memory: {peak}")
    first, end = content["start_to_first_patches_s"], content["start_to_end_s"]
    if first is None:
        told = f"{end:.1f} s from its start to its end (it has no patches)"
    else:
        told = f"{first:.1f} s from its start to its first patches, {end:.1f} to its end"
    lines.append(f"python refine.py on one instance: {told}")
    if "against" in content:
        ours, theirs = content["against"]["own_patches_per_s"], content["against"]["patches_per_s"]
        pairs = ", ".join(f"{size}: {ours[size]:.1f} and {theirs[size]:.1f}" for size in ours)
        ratio = max(ours.values()) / max(theirs.values())
        names = f"{content['backend']} and {content['against']['backend']}"
        lines.append(f"network by {names}, patches/s by batch size: {pairs}; ratio of the best {ratio:.2f}")
    if "scaling" in content:
        s = content["scaling"]
        speeds = f"{s['several_patches_per_s']:.1f} and {s['one_patches_per_s']:.1f} patches/s"
        lines.append(f"{s['processes']} processes of one thread and one of them: {speeds}, ratio {s['ratio']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
