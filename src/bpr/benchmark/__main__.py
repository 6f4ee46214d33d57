"""``python -m bpr.benchmark``: patches per second of the bare network and of the whole refinement, in one run."""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bpr.benchmark.measure import (
    Measurement,
    add_network_options,
    load_network,
    measure,
    network_speeds,
    peak_memory_mb,
    start_up,
)
from bpr.benchmark.processes import scaling
from bpr.benchmark.workload import SCENES, Workload, first_images, generate
from bpr.command import exit_code
from bpr.formats.files import replacing
from bpr.formats.predictions import files_of
from bpr.formats.protection import Inputs
from bpr.models.weights import CheckpointError
from bpr.structures import Backend


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print or write; 0, or 2 if a file cannot be used."""
    chosen = _parse(arguments)

    def work() -> None:
        if chosen.json is not None:
            predictions = [] if chosen.predictions is None else files_of(chosen.predictions)
            Inputs.of([*predictions, Path(chosen.ckpt)], chosen.images).check_file(chosen.json, argument="--json")
        with tempfile.TemporaryDirectory() as folder:
            content = _measure_all(chosen, Path(folder))
        print("\n".join(_lines(content)))
        if chosen.json is not None:
            with replacing(chosen.json) as unfinished:
                unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    return exit_code(work, CheckpointError)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bpr.benchmark", description=__doc__)
    add_network_options(options)
    options.add_argument("--images", type=Path, metavar="DIR", help="images to measure on; generated ones by default")
    options.add_argument("--predictions", type=Path, metavar="FILE", help="their coarse masks")
    options.add_argument("--max-images", type=int, metavar="N", help="of those, the first N with predictions")
    options.add_argument("--against", choices=list(Backend), help="also compare the bare network with this backend")
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


def _measure_all(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, as ``--json`` writes them; those at the top are over all workloads."""
    networks = {"own": load_network(chosen)}
    if chosen.against is not None:
        networks["against"] = load_network(chosen, chosen.against)
    speeds = network_speeds(networks, 1 if chosen.against is None else chosen.rounds)
    refiner = networks["own"]
    best = max(speeds["own"], key=lambda size: speeds["own"][size])
    if chosen.images is None:
        workloads = [generate(folder, scene) for scene in SCENES]
    else:
        given = Workload(chosen.predictions.name, chosen.images, chosen.predictions)
        workloads = [first_images(given, chosen.max_images, folder)]
    measured = [measure(refiner, workload, chosen.device, best, chosen.rounds) for workload in workloads]
    single = [measure(refiner, workload, chosen.device, 1, 1) for workload in workloads]
    patches = max(sum(m.patches for m in measured), 1)
    content = {
        "limit_patches_per_s": patches / sum(m.patches / m.limit_patches_per_s for m in measured),
        "refine_patches_per_s": patches / sum(m.patches / m.refine_patches_per_s for m in measured),
        "ratio": sum(m.ratio * m.patches for m in measured) / patches,
        "peak_memory_mb": peak_memory_mb(),
        "ckpt": str(chosen.ckpt),
        "device": chosen.device,
        "backend": chosen.backend,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
        "workloads": [asdict(m) for m in measured],
        "batch_1": [asdict(m) for m in single],
        "start_to_end_s": start_up(workloads[0], chosen.ckpt, chosen.device),
    }
    if chosen.against is not None:
        own, other = speeds["own"], speeds["against"]
        content["against"] = {"backend": chosen.against, "patches_per_s": other, "own_patches_per_s": own}
    if chosen.processes is not None:
        backend = Backend(chosen.backend)
        content["scaling"] = scaling(workloads[0], chosen.ckpt, backend, best, chosen.processes)
    return content


def _lines(content: dict[str, Any]) -> list[str]:
    """The figures, for people."""
    setting = [content["ckpt"], content["device"], content["backend"], f"{content['threads']} threads"]
    lines = [", ".join([*setting, content["machine"]])]
    for kind in ([Measurement(**m) for m in content[key]] for key in ("workloads", "batch_1")):
        lines.append(f"patches/s with batches of {kind[0].batch_size}: network, whole, ratio")
        lines += [
            f"  {m.workload}: {m.limit_patches_per_s:.1f}, {m.refine_patches_per_s:.1f}, {m.ratio:.3f} "
            f"({m.images} images, {m.instances} instances, {m.patches} patches)"
            for m in kind
        ]
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
