"""Processes of a run, forked from the one of pytest, which stop or kill themselves."""

import multiprocessing
import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from pytorch_lightning.strategies.launchers import subprocess_script

from bpr.models import watch
from bpr.models.watch import Watch

PERIOD = 0.1  # seconds


class Child:
    """Stands in for `subprocess.Popen`."""

    def __init__(self, pid):
        self.pid, self.status = pid, None

    def poll(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def kill(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)


def trainer(rank, world):
    return SimpleNamespace(
        global_rank=rank, local_rank=rank, world_size=world, num_nodes=1, strategy=SimpleNamespace(launcher=None)
    )


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


class Processes:
    """Forks the first process of a run, and that one the others; ``work`` is what the ranks do before they wait."""

    def __init__(self, folder):
        self.folder, self.errors = folder / "shards", folder / "stderr"

    def start(self, world, work):
        self.barrier = multiprocessing.get_context("fork").Barrier(world)
        self.first = Child(self._fork(lambda: self._run(0, world, work)))
        return self

    def end(self):
        wait_until(lambda: self.first.poll() is not None)
        time.sleep(5 * watch.PERIOD)  # the others have noticed
        return self.first.status, self.errors.read_text().splitlines()

    def _fork(self, run):
        pid = os.fork()
        if pid:
            return pid
        signal.alarm(60)  # whatever goes wrong, it is not left behind
        status = 99
        try:
            sys.stderr = self.errors.open("a", buffering=1)
            status = run()
        finally:
            os._exit(status)

    def _run(self, rank, world, work):
        if rank == 0:
            os.setpgid(0, 0)
        os.environ["LOCAL_RANK"] = str(rank)
        guard = Watch(self.folder, lambda: "3 of 4 images are kept; the same command resumes")
        with guard.during(trainer(rank, world)):
            if rank == 0:
                run = [lambda rank=rank: self._run(rank, world, work) for rank in range(1, world)]
                subprocess_script._launch_process_observer([Child(self._fork(other)) for other in run])
            work.get(rank, lambda: None)()
            guard.wait()
            self.barrier.wait()
        return 0


@pytest.fixture
def processes(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "PERIOD", PERIOD)
    return Processes(tmp_path)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def broken():
    raise RuntimeError("Connection closed by peer")


KEPT = "3 of 4 images are kept; the same command resumes"
SILENT = f"has shown no sign of life for {watch.SILENCE * PERIOD:.0f} s"
OUT_OF_MEMORY = "was ended by SIGKILL; perhaps memory ran out"


@pytest.mark.parametrize(
    ("world", "work", "status", "line"),
    [
        (2, {1: stop}, 1, f"error: process 2 of 2 {SILENT}; {KEPT}"),
        (4, {2: stop}, 1, f"error: process 3 of 4 {SILENT}; {KEPT}"),
        (4, {0: stop}, -signal.SIGKILL, f"error: process 1 of 4 {SILENT}; {KEPT}"),
        (2, {1: killed}, 1, f"error: process 2 of 2 {OUT_OF_MEMORY}; {KEPT}"),
    ],
)
def test_one_that_hangs_or_dies_ends_all_with_one_line(processes, world, work, status, line):
    assert processes.start(world, work).end() == (status, [line])


def test_when_the_first_one_dies_the_others_say_so(processes, monkeypatch):
    monkeypatch.setattr(watch, "PERIOD", 1)  # else a busy machine can keep it silent for too long before it dies
    ended = processes.start(4, {0: killed}).end()
    assert ended == (-signal.SIGKILL, [f"error: process 1 of 4 was ended; {KEPT}"])


def test_a_connection_that_breaks_is_not_what_ends_the_run(processes, monkeypatch):
    monkeypatch.setattr(watch, "PERIOD", 1)
    ended = processes.start(2, {1: killed, 0: broken}).end()
    assert ended == (1, [f"error: process 2 of 2 {OUT_OF_MEMORY}; {KEPT}"])


def test_one_that_ends_with_an_error_has_said_it_itself(processes):
    assert processes.start(3, {1: lambda: os._exit(3)}).end() == (1, [])


def test_those_that_are_done_wait_for_the_others_and_leave_no_files(processes):
    for rank in (0, 1):
        processes.start(2, {rank: lambda: time.sleep(1.5 * watch.SILENCE * watch.PERIOD)})
        assert processes.end() == (0, [])
        assert wait_until(lambda: not list(processes.folder.iterdir()))


def test_a_run_that_is_suspended_as_a_whole_goes_on(processes):
    processes.start(3, {1: lambda: time.sleep(2)})
    time.sleep(1)
    os.killpg(processes.first.pid, signal.SIGSTOP)
    time.sleep(1.5 * watch.SILENCE * watch.PERIOD)
    os.killpg(processes.first.pid, signal.SIGCONT)
    assert processes.end() == (0, [])


def test_a_process_that_never_begins_ends_the_run(processes, monkeypatch):
    monkeypatch.setattr(watch, "_START", 10)
    run = Processes._run
    monkeypatch.setattr(Processes, "_run", lambda self, rank, *given: killed() if rank else run(self, rank, *given))
    monkeypatch.setattr(Watch, "_adopt", lambda self, children: None)
    status, lines = processes.start(2, {}).end()
    assert (status, lines) == (1, [f"error: process 2 of 2 has shown no sign of life for {10 * PERIOD:.0f} s; {KEPT}"])
