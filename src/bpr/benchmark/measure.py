"""Time the bare network and the whole refinement side by side, in one process and in several."""

import argparse
import logging
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import cv2
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from bpr.benchmark.workload import Workload
from bpr.cli.command import at_least
from bpr.data.datamodule import RefinementDataModule
from bpr.data.inputs import read_input
from bpr.formats.coco import write_results
from bpr.formats.errors import FormatError
from bpr.models.backends import check_backend
from bpr.models.refiner import Inference, PatchRefiner, load_refiner
from bpr.models.weights import resolve_checkpoint
from bpr.refine.progress import RefinementRun
from bpr.refine.shards import read_shards
from bpr.refine.summary import RefinementSummary
from bpr.refine.writer import RefinementWriter
from bpr.structures import PAPERS_ROUNDS, Backend, ImageRecord, PatchSpec

BATCH_SIZES: Final = (8, 16, 32, 64, 128)
"""Tried for the bare network."""
_PATCHES: Final = 256
"""Number of patches that the bare network is shown."""
_WARM_UP_S: Final = 600
"""Processes wait for each other as long as this: one of them may export the network first."""


def refine_workload(
    refiner: PatchRefiner, workload: Workload, device: str, output: Path
) -> tuple[RefinementSummary, float]:
    """Refine a workload from its files to the file ``output``; gives the seconds it took, start-up aside."""
    start = perf_counter()
    given = read_input(workload.images, workload.predictions, workload.annotations)
    run = _refine_images(refiner, given.records, device, output)
    _, summary = run.finish(given)
    run.close()
    return summary, perf_counter() - start


def measure(refiner: PatchRefiner, workload: Workload, device: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """Measure the network and the refinement in turn, ``rounds`` times, and give the medians.

    Both are measured within seconds of each other, so that what else the machine does hits both alike.

    Returns:
        As ``--json`` writes it; ``limit_patches_per_s`` is of the bare network, on patches that are ready in memory,
        ``refine_patches_per_s`` of the whole refinement, from the files to the results file, start-up aside.
    """
    refiner.inference = replace(refiner.inference, patches_per_forward=batch_size)
    limits, speeds = [], []
    for _ in range(rounds):
        limits.append(network_speed(refiner.to(device), batch_size))
        with TemporaryDirectory() as folder:
            done, seconds = refine_workload(refiner, workload, device, Path(folder) / "refined.json")
        speeds.append(done.patches / seconds)
    return {
        "workload": workload.name,
        **{name: getattr(done, name) for name in ("images", "instances", "patches")},
        "batch_size": batch_size,
        "limit_patches_per_s": statistics.median(limits),
        "refine_patches_per_s": statistics.median(speeds),
        "ratio": statistics.median(speed / limit for speed, limit in zip(speeds, limits, strict=True)),
    }


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
    images = torch.randint(256, (_PATCHES, side, side, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    masks = torch.rand(_PATCHES, side, side, device=device) < 0.5
    parts = list(zip(torch.split(images, batch_size), torch.split(masks, batch_size), strict=True))
    refiner.predict_patches(*parts[0]).cpu()  # warm up
    start = perf_counter()
    for part in parts:
        probabilities = refiner.predict_patches(*part)
    probabilities.cpu()  # waits for a GPU
    return _PATCHES / (perf_counter() - start)


def speed_of_processes(workload: Workload, ckpt: str, backend: Backend, batch_size: int, processes: int) -> float:
    """Patches per second of CPU processes of one thread each, all together, from the first to the last.

    Images are shared out as Lightning does it: every ``processes``-th to each. Every process loads the network and
    refines once to warm up before the clock starts. They are forked from one that has imported this module, once.

    Raises:
        torch.multiprocessing.ProcessException: If a process fails; the others are ended.
    """
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier = context.Barrier(processes)
    results = torch.zeros(processes, 3, dtype=torch.float64)  # patches, begin, end; passed in shared memory
    inference = Inference(patches_per_forward=batch_size, backend=backend)
    arguments = (workload, ckpt, inference, processes, barrier, results)
    start_processes(_refine_share, arguments, processes, start_method="forkserver")  # type: ignore[no-untyped-call]
    return float(results[:, 0].sum() / (results[:, 2].max() - results[:, 1].min()))


def _refine_share(
    rank: int, workload: Workload, ckpt: str, inference: Inference, processes: int, barrier: Any, results: Tensor
) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    refiner = load_refiner(resolve_checkpoint(ckpt), inference=inference, rounds=PAPERS_ROUNDS)
    mine = read_input(workload.images, workload.predictions).records[rank::processes]
    with TemporaryDirectory() as folder:
        _refine_images(refiner, mine[:1], "cpu", Path(folder) / "warm up")
        barrier.wait(_WARM_UP_S)
        begin = perf_counter()
        run = _refine_images(refiner, mine, "cpu", Path(folder) / "measured")
        end = perf_counter()
        patches = sum(line.image.patches for line in read_shards(run.folder, run.digest))
    results[rank] = torch.tensor([patches, begin, end], dtype=torch.float64)


def start_up(workload: Workload, ckpt: str, device: str) -> float:
    """Wall-clock seconds of a ``python refine.py`` on one instance, in a process of its own, from start to end."""
    with TemporaryDirectory() as folder:
        one = Path(folder) / "one.json"
        entries = read_input(workload.images, workload.predictions).predictions.entries
        if not entries:
            raise FormatError(workload.predictions, None, "has nothing to refine")
        write_results(one, [entries[0]])
        command = [sys.executable, "-m", "bpr", "refine", f"images={workload.images}", f"predictions={one}"]
        command += [f"ckpt={ckpt}", f"output={Path(folder) / 'refined.json'}", f"hydra.run.dir={folder}/run"]
        command += [f"trainer.accelerator={device}", "backend=eager"]
        start = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no shell)
        seconds = perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"refine.py failed: {done.stderr}")
    return seconds


def peak_memory_mb() -> dict[str, float]:
    """Highest resident memory so far, MB (of 1024 KiB): of this process, and of the largest of its children."""
    import resource  # which Windows has not

    of = {"main": resource.RUSAGE_SELF, "largest child": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(who).ru_maxrss / 1024 for name, who in of.items()}


def add_network_options(options: argparse.ArgumentParser) -> None:
    """Add what says which network runs and how."""
    options.add_argument("--ckpt", default="hrnet18s", help="weights (default: hrnet18s)")
    options.add_argument("--backend", choices=list(Backend), default=Backend.eager.value, help="how the network runs")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    options.add_argument("--device", choices=["cpu", "cuda"], default=best, help="default: a GPU if there is one")
    options.add_argument("--threads", type=at_least(1), metavar="N", help="CPU threads of torch")


def load_network(chosen: argparse.Namespace, backend: str | None = None) -> PatchRefiner:
    """The network that `add_network_options` asks for, on its device; perhaps by another backend."""
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    inference = Inference(backend=Backend(backend or chosen.backend))
    check_backend(inference.backend, torch.device(chosen.device))
    return load_refiner(resolve_checkpoint(chosen.ckpt), inference=inference, rounds=PAPERS_ROUNDS).to(chosen.device)


def _refine_images(refiner: PatchRefiner, records: Sequence[ImageRecord], device: str, output: Path) -> RefinementRun:
    """Refine images as ``refine.py`` does, in this process, into the shard of a run, which is not merged yet."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run = RefinementRun(output, {})
    trainer = pl.Trainer(
        accelerator=device,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[RefinementWriter(run.folder, run.digest)],
    )
    datamodule = RefinementDataModule(records, refiner.inference.method)
    trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
    return run
