"""``python -m bpr.benchmark``: patches per second of the bare network and of the whole refinement, in one run."""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bpr.benchmark.measure import (
    add_network_options,
    load_network,
    measure,
    network_speeds,
    peak_memory_mb,
    speed_of_processes,
    start_up,
)
from bpr.benchmark.workload import SCENES, Workload, first_images, generate
from bpr.cli.command import add_overwrite, at_least, command_parser, exit_code
from bpr.formats.files import write_text
from bpr.formats.predictions import files_of
from bpr.formats.protection import Inputs
from bpr.structures import Backend


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print or write; 0, or 2 if a file cannot be used."""
    chosen = _parse(arguments)

    def work() -> None:
        if chosen.json is not None:
            predictions = [] if chosen.predictions is None else files_of(chosen.predictions)
            inputs = Inputs.of([*predictions, Path(chosen.ckpt)], chosen.images)
            inputs.check_file(chosen.json, chosen.overwrite, "--json")
        with TemporaryDirectory() as folder:
            content = _measure_all(chosen, Path(folder))
        print("\n".join(_lines(content)))
        if chosen.json is not None:
            write_text(chosen.json, json.dumps(content, indent=2) + "\n")

    return exit_code(work)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = command_parser("python -m bpr.benchmark", __doc__)
    add_network_options(options)
    options.add_argument("--images", type=Path, metavar="DIR", help="images to measure on; generated ones by default")
    options.add_argument("--predictions", type=Path, metavar="FILE", help="their coarse masks")
    first = "of those, the first N with predictions"
    options.add_argument("--max-images", type=at_least(1), metavar="N", help=first)
    options.add_argument("--against", choices=list(Backend), help="also compare the bare network with this backend")
    often = "how often each is measured (default: 3)"
    options.add_argument("--rounds", type=at_least(1), default=3, metavar="N", help=often)
    several = "also compare N CPU processes of one thread each with one of them"
    options.add_argument("--processes", type=at_least(2), metavar="N", help=several)
    options.add_argument("--json", type=Path, metavar="FILE", help="also write all figures")
    add_overwrite(options)
    chosen = options.parse_args(arguments)
    if (chosen.images is None) != (chosen.predictions is None):
        options.error("give both, --images and --predictions, or neither")
    if chosen.max_images is not None and chosen.images is None:
        options.error("--max-images goes with --images")
    if chosen.processes is not None and chosen.device != "cpu":
        options.error("--processes goes with --device cpu")
    return chosen


def _measure_all(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, as ``--json`` writes them."""
    networks = {"own": load_network(chosen)}
    if chosen.against is not None:
        networks["against"] = load_network(chosen, chosen.against)
    speeds = network_speeds(networks, 1 if chosen.against is None else chosen.rounds)
    best = max(speeds["own"], key=lambda size: speeds["own"][size])
    if chosen.images is None:
        workloads = [generate(folder, *scene) for scene in SCENES]
    else:
        given = Workload(chosen.predictions.name, chosen.images, chosen.predictions)
        workloads = [given if chosen.max_images is None else first_images(given, chosen.max_images, folder)]
    measured = [measure(networks["own"], workload, chosen.device, best, chosen.rounds) for workload in workloads]
    single = [measure(networks["own"], workload, chosen.device, 1, 1) for workload in workloads]
    content = {
        "peak_memory_mb": peak_memory_mb(),
        "ckpt": str(chosen.ckpt),
        "device": chosen.device,
        "backend": chosen.backend,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
        "workloads": measured,
        "batch_1": single,
        "start_to_end_s": start_up(workloads[0], chosen.ckpt, chosen.device),
    }
    if chosen.against is not None:
        both = {"patches_per_s": speeds["against"], "own_patches_per_s": speeds["own"]}
        content["against"] = {"backend": chosen.against, **both}
    if chosen.processes is not None:
        how = chosen.ckpt, Backend(chosen.backend), best
        one, several = (speed_of_processes(workloads[0], *how, n) for n in (1, chosen.processes))
        scaling = {"one_patches_per_s": one, "several_patches_per_s": several, "ratio": several / one}
        content["scaling"] = scaling | {"processes": chosen.processes}
    return content


def _lines(content: dict[str, Any]) -> list[str]:
    """The figures, for people."""
    setting = (content[name] for name in ("ckpt", "device", "backend"))
    lines = [", ".join([*setting, f"{content['threads']} threads", content["machine"]])]
    for kind in (content["workloads"], content["batch_1"]):
        lines.append(f"patches/s with batches of {kind[0]['batch_size']}: network, whole, ratio")
        for m in kind:
            speeds = f"{m['limit_patches_per_s']:.1f}, {m['refine_patches_per_s']:.1f}"
            counts = f"{m['images']} images, {m['instances']} instances, {m['patches']} patches"
            lines.append(f"  {m['workload']}: {speeds}, {m['ratio']:.3f} ({counts})")
    lines.append("peak memory: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in content["peak_memory_mb"].items()))
    lines.append(f"python refine.py on one instance: {content['start_to_end_s']:.1f} s from start to end")
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
    return lines


if __name__ == "__main__":
    sys.exit(main())
