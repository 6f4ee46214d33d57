"""Benchmarks in processes of their own: several against one, and one way to run the network against another."""

import logging
import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import cv2
import torch

from bpr.benchmark.measure import BATCH_SIZES, network_speed, predict, ready_patches
from bpr.benchmark.workload import Workload
from bpr.models.refiner import load_refiner
from bpr.models.weights import resolve_checkpoint
from bpr.refine.inputs import read_input
from bpr.refine.shards import read_shards
from bpr.structures import Backend, PatchSpec

WARM_UP_S: Final = 600
"""Processes wait for each other as long as this: one of them may export the network first."""


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
    running: dict[Any, Any] = {process.sentinel: process for process in started}
    while running:
        for sentinel in wait(list(running)):
            ended = running.pop(sentinel)
            ended.join()
            if ended.exitcode:
                barrier.abort()  # else the others would wait for it
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
        barrier.wait(WARM_UP_S)
        begin = perf_counter()
        run = predict(refiner, mine, PatchSpec(), "cpu", Path(folder) / "measured")
        end = perf_counter()
        results.put((sum(line.image.patches for line in read_shards(run.folder, run.digest)), begin, end))


def scaling(workload: Workload, ckpt: str, backend: Backend, batch_size: int, processes: int) -> dict[str, float]:
    """Speed of one and of several processes, measured one after the other, and their ratio."""
    one = speed_of_processes(workload, ckpt, backend, batch_size, 1)
    several = speed_of_processes(workload, ckpt, backend, batch_size, processes)
    return {"one_patches_per_s": one, "several_patches_per_s": several, "ratio": several / one, "processes": processes}


def compare_networks(
    workload: Workload, ckpt: str, backends: Sequence[Backend], device: str, rounds: int
) -> list[dict[int, float]]:
    """Patches per second of the bare network by batch size, for each backend: medians of rounds.

    Each backend has a process of its own, so that none is slowed by another's threads and memory; they are measured
    in turn, on the same patches, while the others wait.

    Args:
        workload: Whose patches.
        ckpt: Weights.
        backends: Ways to run the network.
        device: ``cpu`` or ``cuda``.
        rounds: >= 1.

    Raises:
        BrokenProcessPool: If a process fails; it has printed why.
    """
    context = multiprocessing.get_context("spawn")
    arguments = (workload, ckpt, device, torch.get_num_threads())
    pools = [
        ProcessPoolExecutor(1, context, initializer=_load_network, initargs=(backend, *arguments))
        for backend in backends
    ]
    speeds: list[dict[int, list[float]]] = [{size: [] for size in BATCH_SIZES} for _ in backends]
    try:
        for _ in range(rounds):
            for size in BATCH_SIZES:
                for pool, found in zip(pools, speeds, strict=True):
                    found[size].append(pool.submit(_speed, size).result())
    finally:
        for pool in pools:
            pool.shutdown()
    return [{size: statistics.median(found) for size, found in of.items()} for of in speeds]


_loaded: list[Any] = []
"""In a process of `compare_networks`: its network, and patches."""


def _load_network(backend: Backend, workload: Workload, ckpt: str, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    _loaded[:] = [
        load_refiner(resolve_checkpoint(ckpt), backend=backend).to(device),
        ready_patches(workload, PatchSpec()).to(device),
    ]


def _speed(batch_size: int) -> float:
    refiner, patches = _loaded
    return network_speed(refiner, patches, batch_size)
