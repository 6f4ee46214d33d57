"""Time the bare network and the whole refinement side by side."""

import argparse
import logging
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import pytorch_lightning as pl
import torch
from torch import Tensor

from bpr.benchmark.workload import Workload
from bpr.data.datamodule import RefinementDataModule
from bpr.formats.coco import write_results
from bpr.models.refiner import Inference, PatchRefiner, load_refiner
from bpr.models.weights import resolve_checkpoint
from bpr.refine.inputs import read_input
from bpr.refine.run import RefinementRun
from bpr.refine.summary import RefinementSummary
from bpr.refine.writer import RefinementWriter
from bpr.structures import Backend, ImageRecord, PatchSpec

BATCH_SIZES: Final = (8, 16, 32, 64, 128)
"""Tried for the bare network."""
_PATCHES: Final = 256
"""Number of patches that the bare network is shown."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured on one workload, with the keys that ``--json`` writes.

    Attributes:
        workload: Its name.
        images: With predictions.
        instances: Predictions.
        patches: That the network has to see.
        batch_size: Patches in one pass of the network.
        limit_patches_per_s: Of the bare network, on patches that are ready in memory.
        refine_patches_per_s: Of the whole refinement, from the files to the result file, start-up aside.
        ratio: The second over the first; 1 if nothing but the network took time.
    """

    workload: str
    images: int
    instances: int
    patches: int
    batch_size: int
    limit_patches_per_s: float
    refine_patches_per_s: float
    ratio: float


def refine_images(refiner: PatchRefiner, records: Sequence[ImageRecord], device: str, output: Path) -> RefinementRun:
    """Refine all of these images as ``refine.py`` does, in this process, into the shard of a run.

    This is the one place where the benchmarks run a refinement.

    Args:
        refiner: In eval mode; knows how masks are refined.
        records: Images with predictions.
        device: ``cpu`` or ``cuda``.
        output: Results file of the run, which is not merged yet.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run = RefinementRun(output, {})
    trainer = pl.Trainer(
        accelerator=device if device == "cpu" else "gpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[RefinementWriter(run.folder, run.digest)],
    )
    trainer.predict(
        refiner, datamodule=RefinementDataModule(records, refiner.inference.method), return_predictions=False
    )
    return run


def refine_workload(
    refiner: PatchRefiner, workload: Workload, device: str, output: Path
) -> tuple[RefinementSummary, float]:
    """Refine a workload from its files to the file ``output``; gives the seconds it took, start-up aside."""
    start = perf_counter()
    given = read_input(workload.images, workload.predictions)
    run = refine_images(refiner, given.records, device, output)
    _, summary = run.finish(given.predictions.entries, len(given.records), given.predictions.write)
    return summary, perf_counter() - start


def measure(refiner: PatchRefiner, workload: Workload, device: str, batch_size: int, rounds: int = 3) -> Measurement:
    """Measure the network and the refinement in turn, ``rounds`` times, and give the medians.

    Both are measured within seconds of each other, so that what else the machine does hits both alike.

    Args:
        refiner: In eval mode.
        workload: What to refine.
        device: ``cpu`` or ``cuda``.
        batch_size: Patches in one pass of the network, for both.
        rounds: >= 1.
    """
    refiner.inference = replace(refiner.inference, patches_per_forward=batch_size)
    limits, speeds = [], []
    for _ in range(rounds):
        limits.append(network_speed(refiner.to(device), batch_size))
        with TemporaryDirectory() as folder:
            done, seconds = refine_workload(refiner, workload, device, Path(folder) / "refined.json")
        speeds.append(done.patches / seconds)
    return Measurement(
        workload=workload.name,
        images=done.images,
        instances=done.instances,
        patches=done.patches,
        batch_size=batch_size,
        limit_patches_per_s=statistics.median(limits),
        refine_patches_per_s=statistics.median(speeds),
        ratio=statistics.median(speed / limit for speed, limit in zip(speeds, limits, strict=True)),
    )


def network_speeds(refiners: Mapping[str, PatchRefiner], rounds: int) -> dict[str, dict[int, float]]:
    """Patches per second of networks by batch size: medians of ``rounds`` in which they take turns."""
    found: dict[str, dict[int, list[float]]] = {name: {size: [] for size in BATCH_SIZES} for name in refiners}
    for _ in range(rounds):
        for size in BATCH_SIZES:
            for name, refiner in refiners.items():
                found[name][size].append(network_speed(refiner, size))
    return {name: {size: statistics.median(s) for size, s in by_size.items()} for name, by_size in found.items()}


@torch.inference_mode()
def network_speed(refiner: PatchRefiner, batch_size: int) -> float:
    """Patches per second of the bare network, which sees ``batch_size`` patches of noise at a time."""
    device, side = refiner.device, PatchSpec().size
    images = torch.randint(256, (_PATCHES, 3, side, side), dtype=torch.uint8, device=device)
    images = images.to(memory_format=torch.channels_last)
    masks = torch.rand(_PATCHES, side, side, device=device) < 0.5
    parts = list(zip(torch.split(images, batch_size), torch.split(masks, batch_size), strict=True))
    _wait_for(refiner.predict_patches(*parts[0]))  # warm up
    start = perf_counter()
    for part in parts:
        probabilities = refiner.predict_patches(*part)
    _wait_for(probabilities)
    return _PATCHES / (perf_counter() - start)


def start_up(workload: Workload, ckpt: str, device: str) -> float:
    """Wall-clock seconds of a ``python refine.py`` on one instance, in a process of its own, from start to end.

    Raises:
        RuntimeError: If it fails.
    """
    with TemporaryDirectory() as folder:
        one = Path(folder) / "one.json"
        write_results(one, [next(iter(read_input(workload.images, workload.predictions).predictions.entries))])
        command = [sys.executable, "-m", "bpr", "refine", f"images={workload.images}", f"predictions={one}"]
        command += [f"ckpt={ckpt}", f"output={Path(folder) / 'refined.json'}", f"hydra.run.dir={folder}/run"]
        command += [f"trainer.accelerator={'cpu' if device == 'cpu' else 'gpu'}", "backend=eager"]
        start = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"refine.py failed: {done.stderr}")
    return seconds


def peak_memory_mb() -> dict[str, float]:
    """Highest resident memory so far, MB (of 1024 KiB): of this process, and of the largest of its children."""
    return {
        name: resource.getrusage(who).ru_maxrss / 1024
        for name, who in (("main", resource.RUSAGE_SELF), ("largest child", resource.RUSAGE_CHILDREN))
    }


def add_network_options(options: argparse.ArgumentParser) -> None:
    """Add what says which network runs and how."""
    options.add_argument("--ckpt", default="hrnet18s", help="weights (default: hrnet18s)")
    options.add_argument("--backend", choices=list(Backend), default=Backend.eager.value, help="how the network runs")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--threads", type=int, metavar="N", help="CPU threads of torch")


def load_network(chosen: argparse.Namespace, backend: str | None = None) -> PatchRefiner:
    """The network that `add_network_options` asks for, on its device; perhaps by another backend.

    Raises:
        bpr.models.weights.CheckpointError: If the weights cannot be used.
    """
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    inference = Inference(backend=Backend(backend or chosen.backend))
    return load_refiner(resolve_checkpoint(chosen.ckpt), inference=inference).to(chosen.device)


def _wait_for(result: Tensor) -> None:
    if result.device.type == "cuda":
        torch.cuda.synchronize()
