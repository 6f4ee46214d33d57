"""Several CPU processes of one thread each, beside one of them."""

import multiprocessing
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import cv2
import torch

from bpr.benchmark.measure import refine_images
from bpr.benchmark.workload import Workload
from bpr.models.refiner import Inference, load_refiner
from bpr.models.weights import resolve_checkpoint
from bpr.refine.inputs import read_input
from bpr.refine.shards import read_shards
from bpr.structures import Backend

WARM_UP_S: Final = 600
"""Processes wait for each other as long as this: one of them may export the network first."""


def scaling(workload: Workload, ckpt: str, backend: Backend, batch_size: int, processes: int) -> dict[str, float]:
    """Speed of one and of several processes, measured one after the other, and their ratio."""
    one, several = (speed_of_processes(workload, ckpt, backend, batch_size, n) for n in (1, processes))
    return {"one_patches_per_s": one, "several_patches_per_s": several, "ratio": several / one, "processes": processes}


def speed_of_processes(workload: Workload, ckpt: str, backend: Backend, batch_size: int, processes: int) -> float:
    """Patches per second of all processes together, each with one thread, from the first to the last.

    Every process loads the network and refines once to warm up before the clock starts.

    Args:
        workload: Its images are shared out as Lightning does it: every ``processes``-th to each.
        ckpt: Weights.
        backend: How the network runs.
        batch_size: Patches in one pass of the network.
        processes: >= 1.

    Raises:
        torch.multiprocessing.ProcessException: If a process fails; the others are ended.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    arguments = (workload, ckpt, backend, batch_size, processes, barrier, results)
    torch.multiprocessing.spawn(_refine_share, arguments, nprocs=processes)  # type: ignore[attr-defined,no-untyped-call]
    patches, begins, ends = zip(*(results.get() for _ in range(processes)), strict=True)
    return float(sum(patches) / (max(ends) - min(begins)))


def _refine_share(
    rank: int,
    workload: Workload,
    ckpt: str,
    backend: Backend,
    batch_size: int,
    processes: int,
    barrier: Barrier,
    results: "SimpleQueue[tuple[int, float, float]]",
) -> None:
    """In a process of its own: refine every ``processes``-th image; put patches, begin and end into ``results``."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    inference = Inference(patches_per_forward=batch_size, backend=backend)
    refiner = load_refiner(resolve_checkpoint(ckpt), inference=inference)
    given = read_input(workload.images, workload.predictions)
    mine = [given.records[number] for number in range(rank, len(given.records), processes)]
    with TemporaryDirectory() as folder:
        refine_images(refiner, mine[:1], "cpu", Path(folder) / "warm up")
        barrier.wait(WARM_UP_S)
        begin = perf_counter()
        run = refine_images(refiner, mine, "cpu", Path(folder) / "measured")
        end = perf_counter()
        patches = sum(line.image.patches for line in read_shards(run.folder, run.digest))
    results.put((patches, begin, end))
