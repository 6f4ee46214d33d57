"""How much faster several processes with one thread each are than one of them, as `refine.py` shares images out."""

import logging
import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import cv2
import torch

from bpr.benchmark.measure import predict
from bpr.benchmark.workload import Workload
from bpr.models.checkpoint import load_refiner
from bpr.models.weights import resolve_checkpoint
from bpr.refine.inputs import read_input
from bpr.refine.shards import read_shards
from bpr.structures import Backend, PatchSpec


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
        RuntimeError: If a process fails; it has printed why.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    arguments = (workload, ckpt, backend, batch_size, processes, barrier, results)
    started = [context.Process(target=_refine_share, args=(rank, *arguments)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise RuntimeError("a process of the benchmark failed")
    shares = [results.get() for _ in started]
    begin, end = min(share[1] for share in shares), max(share[2] for share in shares)
    return float(sum(share[0] for share in shares) / (end - begin))


def _refine_share(
    rank: int,
    workload: Workload,
    ckpt: str,
    backend: Backend,
    batch_size: int,
    processes: int,
    barrier: Barrier,
    results: "Queue[Any]",
) -> None:
    """In a process of its own: put the number of patches, begin and end (of the system's clock) into ``results``."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    refiner = load_refiner(resolve_checkpoint(ckpt), patches_per_forward=batch_size, backend=backend)
    with TemporaryDirectory() as folder:
        given = read_input(workload.images, workload.predictions)
        mine = [given.records[number] for number in range(rank, len(given.records), processes)]
        predict(refiner, mine[:1], PatchSpec(), "cpu", Path(folder) / "warm up")
        barrier.wait()
        begin = perf_counter()
        run = predict(refiner, mine, PatchSpec(), "cpu", Path(folder) / "measured")
        end = perf_counter()
        results.put((sum(line.image.patches for line in read_shards(run.folder, run.digest)), begin, end))


def scaling(workload: Workload, ckpt: str, backend: Backend, batch_size: int, processes: int) -> dict[str, float]:
    """Speed of one and of several processes, measured one after the other, and their ratio."""
    one = speed_of_processes(workload, ckpt, backend, batch_size, 1)
    several = speed_of_processes(workload, ckpt, backend, batch_size, processes)
    return {"one_patches_per_s": one, "several_patches_per_s": several, "ratio": several / one, "processes": processes}
