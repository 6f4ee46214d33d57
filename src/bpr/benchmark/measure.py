"""Time the bare network and the whole refinement side by side."""

import logging
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import pytorch_lightning as pl
import torch

from bpr.benchmark.first_patches import MARK
from bpr.benchmark.workload import Workload
from bpr.data.batches import RefinementBatch, collate_refinement
from bpr.data.datamodule import RefinementDataModule
from bpr.data.datasets import RefinementDataset
from bpr.formats.coco import write_results
from bpr.models.refiner import PatchRefiner
from bpr.refine.inputs import read_input
from bpr.refine.run import RefinementRun
from bpr.refine.writer import RefinementWriter
from bpr.structures import ImageRecord, PatchSpec

BATCH_SIZES: Final = (8, 16, 32, 64, 128)
"""Tried for the bare network."""
_READY_PATCHES: Final = 512
"""At most so many patches of a workload are shown to the bare network."""


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
        around_patches_per_s: Of reading and writing, over the time of its stages.
        stages_s: Seconds of each stage.
    """

    workload: str
    images: int
    instances: int
    patches: int
    batch_size: int
    limit_patches_per_s: float
    refine_patches_per_s: float
    ratio: float
    around_patches_per_s: float
    stages_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """One refinement: what was done, and how long it took, start-up aside; ``stages`` are seconds of each stage."""

    images: int
    instances: int
    patches: int
    seconds: float
    stages: dict[str, float]


def best_batch_size(refiner: PatchRefiner, workload: Workload, spec: PatchSpec, device: str) -> int:
    """The batch size at which the bare network sees most patches per second."""
    patches = ready_patches(workload, spec).to(device)
    return max(BATCH_SIZES, key=lambda size: network_speed(refiner.to(device), patches, size))


def measure(
    refiner: PatchRefiner, workload: Workload, spec: PatchSpec, device: str, batch_size: int, rounds: int = 3
) -> Measurement:
    """Measure the network and the refinement in turn, ``rounds`` times, and give the medians.

    Both are measured within seconds of each other, so that what else the machine does hits both alike.

    Args:
        refiner: In eval mode.
        workload: What to refine.
        spec: How patches are placed.
        device: ``cpu`` or ``cuda``.
        batch_size: Patches in one pass of the network, for both.
        rounds: >= 1.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    refiner.patches_per_forward = batch_size
    ready = ready_patches(workload, spec).to(device)
    limits, speeds, runs = [], [], []
    for _ in range(rounds):
        limits.append(network_speed(refiner.to(device), ready, batch_size))
        with TemporaryDirectory() as folder:
            runs.append(refine_workload(refiner, workload, spec, device, Path(folder) / "refined.json"))
        speeds.append(runs[-1].patches / runs[-1].seconds)
    ratio = statistics.median(speed / limit for speed, limit in zip(speeds, limits, strict=True))
    middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    around = sum(seconds for stage, seconds in middle.stages.items() if stage != "predict")
    return Measurement(
        workload=workload.name,
        images=middle.images,
        instances=middle.instances,
        patches=middle.patches,
        batch_size=batch_size,
        limit_patches_per_s=statistics.median(limits),
        refine_patches_per_s=statistics.median(speeds),
        ratio=ratio,
        around_patches_per_s=middle.patches / around,
        stages_s=middle.stages,
    )


def refine_workload(refiner: PatchRefiner, workload: Workload, spec: PatchSpec, device: str, output: Path) -> Run:
    """Refine a workload as ``refine.py`` does, in this process, from its files to the file ``output``."""
    start = perf_counter()
    given = read_input(workload.images, workload.predictions)
    loaded = perf_counter()
    run = predict(refiner, given.records, spec, device, output)
    predicted = perf_counter()
    _, summary = run.finish(given.predictions.entries, len(given.records), given.predictions.write)
    end = perf_counter()
    stages = {"load": loaded - start, "predict": predicted - loaded, "write": end - predicted}
    return Run(summary.images, summary.instances, summary.patches, end - start, stages)


def predict(
    refiner: PatchRefiner, records: Sequence[ImageRecord], spec: PatchSpec, device: str, output: Path
) -> RefinementRun:
    """Refine images on one device of this process into the shard of a run, which is not merged yet."""
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
    trainer.predict(refiner, datamodule=RefinementDataModule(records, spec), return_predictions=False)
    return run


@dataclass(frozen=True, slots=True)
class StartUp:
    """Wall-clock seconds from the start of a ``python refine.py`` on one instance, of a process of its own.

    Attributes:
        first_patches: Until the network had seen the first patches; None if that instance has none.
        whole: Until the process had ended.
    """

    first_patches: float | None
    whole: float


def start_up(workload: Workload, ckpt: str, device: str) -> StartUp:
    """Start ``refine.py`` and take the time.

    Raises:
        RuntimeError: If it fails.
    """
    with TemporaryDirectory() as folder:
        entry = dict(next(iter(read_input(workload.images, workload.predictions).predictions.entries)))
        one = Path(folder) / "one.json"
        write_results(one, [entry])
        command = [sys.executable, "-m", "bpr.benchmark.first_patches", f"images={workload.images}"]
        command += [f"predictions={one}"]
        command += [f"ckpt={ckpt}", f"output={Path(folder) / 'refined.json'}", f"hydra.run.dir={folder}/run"]
        command += [f"trainer.accelerator={'cpu' if device == 'cpu' else 'gpu'}", "backend=eager"]
        start = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        end = time.time()
    marks = [line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode:
        raise RuntimeError(f"refine.py failed: {done.stderr}")
    return StartUp(float(marks[0]) - start if marks else None, end - start)


def peak_rss_mb() -> dict[str, float]:
    """Highest resident memory so far, MB: of this process, and of the largest of its workers."""
    return {
        name: resource.getrusage(who).ru_maxrss / 1024
        for name, who in (("main", resource.RUSAGE_SELF), ("largest worker", resource.RUSAGE_CHILDREN))
    }


def as_json(measurements: list[Measurement], single: list[Measurement], setting: dict[str, Any]) -> dict[str, Any]:
    """All figures; those at the top are over all workloads, ``batch_1`` holds those with single patches."""
    patches = sum(m.patches for m in measurements)
    limit = patches / sum(m.patches / m.limit_patches_per_s for m in measurements)
    speed = patches / sum(m.patches / m.refine_patches_per_s for m in measurements)
    stages: dict[str, float] = {}
    for measurement in measurements:
        for stage, seconds in measurement.stages_s.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    peak = peak_rss_mb()
    return {
        "limit_patches_per_s": limit,
        "refine_patches_per_s": speed,
        "ratio": sum(m.ratio * m.patches for m in measurements) / patches,
        "stages_s": stages,
        "peak_rss_mb": max(peak.values()),
        "peak_rss_mb_of_processes": peak,
        **setting,
        "workloads": [asdict(m) for m in measurements],
        "batch_1": [asdict(m) for m in single],
    }


def ready_patches(workload: Workload, spec: PatchSpec) -> RefinementBatch:
    """Patches of the first images of a workload, in memory, to show to the bare network."""
    given = read_input(workload.images, workload.predictions)
    dataset, items, patches = RefinementDataset(given.records, spec), [], 0
    for number in range(len(dataset)):
        items.append(dataset[number])
        patches += items[-1].layout.patches
        if patches >= _READY_PATCHES:
            break
    return collate_refinement(items)


@torch.inference_mode()
def network_speed(refiner: PatchRefiner, batch: RefinementBatch, batch_size: int) -> float:
    """Patches per second of the bare network, which sees ``batch_size`` at a time."""
    images, coarse = batch.images[:_READY_PATCHES], batch.coarse[:_READY_PATCHES]
    parts = list(zip(torch.split(images, batch_size), torch.split(coarse, batch_size), strict=True))

    def forward() -> None:
        for part in parts:
            refiner.predict_patches(*part)

    if len(parts) > 1:
        refiner.predict_patches(*parts[0])  # warm up
    return len(images) / _seconds(forward, batch.images.device)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start
