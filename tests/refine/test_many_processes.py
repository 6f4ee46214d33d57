"""Refinements by several processes with uneven work, of which one may hang or die: a clear end, and nothing lost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr import rle

ROOT = Path(__file__).parents[2]
LINE = r"^error: process {} of {} (has shown no sign of life for \d+ s|was ended.*); "
LINE += r"\d of 8 images are done and kept beside .*; the same command resumes$"


@pytest.fixture
def uneven(tmp_path):
    """Eight images: the first has 60 large masks, every second one a tiny mask, the others one that is large."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:240, :320]
    folder, entries = tmp_path / "uneven", []
    folder.mkdir()
    for number in range(8):
        name = f"{number + 1:012d}.png"
        Image.fromarray(rng.integers(0, 100, (240, 320, 3), dtype=np.uint8)).save(folder / name)
        for _ in range(60 if number == 0 else 1):
            x, y, radius = rng.uniform(80, 240), rng.uniform(80, 160), 4 if number % 2 else rng.uniform(30, 55)
            entry = {"image_id": number + 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1], "file_name": name}
            entries.append({**entry, "segmentation": rle.encode((xs - x) ** 2 + (ys - y) ** 2 < radius**2)})
    (folder / "coarse.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture
def options(uneven, weights):
    """What is the same in all runs, so that they resume each other."""
    given = [f"images={uneven}", f"predictions={uneven / 'coarse.json'}", f"ckpt={weights}", "patch.size=32"]
    return [*given, "threads=1", "images_per_batch=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]


@pytest.fixture
def expected(options, refine, tmp_path):
    """Bytes of a run of one process that nothing disturbs."""
    refine(*options, f"output={tmp_path / 'undisturbed.json'}")
    return (tmp_path / "undisturbed.json").read_bytes()


def start(arguments, *launcher, **environment):
    command = [sys.executable, *launcher, ROOT / "refine.py", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, seconds=600):
    printed, errors = process.communicate(timeout=seconds)
    return process.returncode, printed, errors


def at_work(output, rank, name="LOCAL_RANK"):
    """Wait until a process has an image in its shard; gives its id, by the variable that has its rank."""
    shard = output.with_name(f"{output.name}.parts") / f"rank{rank}-0.jsonl"
    deadline = time.monotonic() + 300
    while (not shard.exists() or shard.read_text().count("\n") < 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((folder / file).read_bytes().split(b"\0") for file in ("cmdline", "environ"))
        except OSError:
            continue
        if f"output={output}".encode() in command and (rank == 0 or f"{name}={rank}".encode() in environment):
            return int(folder.name)
    raise AssertionError(f"no process {rank} is at work")


def several(number):
    return [f"trainer.devices={number}", "trainer.strategy=ddp"]


def check_resumed(options, output, refine, expected):
    refine(*options, f"output={output}")
    assert output.read_bytes() == expected
    assert [path.name for path in output.parent.glob("refined*")] == ["refined.json"]


def test_one_that_hangs_ends_the_run_with_one_line_and_it_resumes(options, tmp_path, refine, expected):
    output = tmp_path / "refined.json"
    process = start([*options, f"output={output}", *several(2)])
    os.kill(at_work(output, 1), signal.SIGSTOP)
    begun = time.monotonic()
    status, _, errors = ended(process)
    assert (status, len(re.findall(LINE.format(2, 2), errors, re.M))) == (1, 1), errors
    assert "Traceback" not in errors
    assert time.monotonic() - begun < 60
    check_resumed(options, output, refine, expected)


@pytest.mark.campaign
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize(("processes", "rank"), [(2, 0), (2, 1), (4, 0), (4, 1), (4, 3)])
def test_any_of_them_may_hang_or_die(options, tmp_path, refine, expected, number, processes, rank):
    output = tmp_path / "refined.json"
    process = start([*options, f"output={output}", *several(processes)])
    victim = process.pid if rank == 0 and at_work(output, 0) else at_work(output, rank)
    os.kill(victim, number)
    begun = time.monotonic()
    status, _, errors = ended(process)
    assert status == (-signal.SIGKILL if rank == 0 else 1)
    assert len(re.findall(LINE.format(rank + 1, processes), errors, re.M)) == 1, errors
    assert "Traceback" not in errors
    assert time.monotonic() - begun < 60
    check_resumed(options, output, refine, expected)


@pytest.mark.campaign
@pytest.mark.parametrize("stopped", [False, True])
def test_two_nodes_of_torchrun(options, tmp_path, refine, expected, stopped):
    output = tmp_path / "refined.json"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=2", "--rdzv_backend=c10d"]
    launcher += [f"--rdzv_endpoint=127.0.0.1:{port}", "--rdzv_id=bpr", "--local_addr=127.0.0.1"]
    arguments = [*options, f"output={output}", "trainer.num_nodes=2", *several(2), f"hydra.run.dir={tmp_path / 'run'}"]
    nodes = [start(arguments, *launcher) for _ in range(2)]
    if stopped:
        os.kill(at_work(output, 3, "RANK"), signal.SIGSTOP)
    results = [ended(node) for node in nodes]
    if stopped:
        assert all(status for status, _, _ in results)
        assert sum(len(re.findall(LINE.format(4, 4), errors, re.M)) for _, _, errors in results) == 1
        check_resumed(options, output, refine, expected)
    else:
        assert [status for status, _, _ in results] == [0, 0], results
        assert sum("8 images, 67 instances" in printed for _, printed, _ in results) == 1
        assert output.read_bytes() == expected


@pytest.mark.campaign
@pytest.mark.parametrize(
    "changed", [[], ["num_workers=2"], several(2), several(4), [*several(2), "num_workers=1"], several(8)]
)
def test_the_same_bytes_again_and_with_other_workers_and_processes(options, tmp_path, expected, changed):
    status, _, errors = ended(start([*options, f"output={tmp_path / 'refined.json'}", *changed]))
    assert status == 0, errors
    assert (tmp_path / "refined.json").read_bytes() == expected


@pytest.mark.campaign
@pytest.mark.parametrize(
    "changed",
    ["images_per_batch=3", "images_per_batch=8", "patches_per_forward=1", "patches_per_forward=64", "threads=2"],
)
def test_the_same_masks_with_other_batches_and_threads(options, tmp_path, refine, expected, changed):
    refine(*options, f"output={tmp_path / 'refined.json'}", changed)
    before, after = (
        np.stack([rle.decode(entry["segmentation"]) for entry in json.loads(text)])
        for text in (expected, (tmp_path / "refined.json").read_bytes())
    )
    # Sums are made in another order: a pixel whose probability is 1/2 but for rounding may change its side.
    assert (before != after).mean() < 1e-5


@pytest.mark.campaign
def test_a_small_soak(tmp_path):
    pytest.importorskip("psutil", reason="tests/soak/soak.py needs psutil")
    command = [
        sys.executable,
        ROOT / "tests" / "soak" / "soak.py",
        tmp_path / "soak",
        "--images",
        "600",
        "--every",
        "0.5",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "600 images, 600 predictions, all in place" in done.stdout, done.stderr
