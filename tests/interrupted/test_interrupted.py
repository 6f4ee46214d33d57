"""Runs that are stopped at the n-th write, by ``kill -9``, and repeated: see ``points.py``, which is run here."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def stopped(program, folder, *kinds):
    """What was tried, for each kind of run; nothing may have gone wrong."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, HERE / program, folder, *kinds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kind"')]
    assert found
    for tried in found:
        assert tried["problems"] == []
    return found


def test_killed_at_any_write_or_on_a_full_disk_a_run_goes_on_as_if_never_interrupted(tmp_path):
    """One test, as most of its time goes by before the first run."""
    kinds = ["refine=10", "masks=10", "gzipped=4", "report=4", "train=12", "signals=6", "full=0"]
    *found, signals, full = stopped("points.py", tmp_path, "1", *kinds)
    assert sum(tried["kills"] for tried in found) == 40
    for (status, lines), number in zip(signals["ends"], (130, 143) * 3, strict=True):
        assert status == number
        said = [line for line in lines if line.startswith("interrupted: ")]
        assert len(said) == 1, lines
        assert said[0].endswith("refined.json; the same command resumes")
    whole, *attempts, last = full["ends"]
    assert (whole, last) == (0, 0)
    named = [r"refined\.json\.parts/rank0-0\.jsonl", r"refined\.json" if full["mounted"] else r"rank0-1\.jsonl"]
    for (status, line), name, done in zip(attempts, named, (0, 3) if full["mounted"] else (r"\d", r"\d"), strict=True):
        room = r"cannot be written \(.*, [\d.]+ MiB are free\); make room, and repeat the command\. "
        kept = rf"{done} of 3 images are done and kept beside .*refined\.json; the same command resumes"
        assert status == 1
        assert re.fullmatch(rf"error: .*{name}: {room}{kept}", line), line


@pytest.mark.campaign
def test_so_it_does_at_a_thousand_points_and_if_the_repeats_are_killed_too(tmp_path):
    found = stopped("points.py", tmp_path, "3", "refine=220", "masks=220", "gzipped=100", "report=60", "train=150")
    print(*found, sep="\n")
    assert sum(tried["kills"] for tried in found) >= 1000


@pytest.mark.campaign
def test_so_it_does_if_one_of_two_processes_is_killed(tmp_path):
    """Which torchrun would have started; the trainings also have a worker that reads ahead."""
    print(*stopped("two.py", tmp_path, "refine=20", "train=20"), sep="\n")
