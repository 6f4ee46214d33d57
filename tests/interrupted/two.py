"""Kill one of two processes: ``python two.py FOLDER {refine,train}=KILLS ...``; prints a line of JSON for each.

They are started as ``torchrun`` does, and the other one is ended as it does where it does not end by itself.
"""

import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
from points import contents
from runs import prepare
from stopping import PHASES, Point, Stopping, kill
from tiny import write_tiny_set

from bpr.models.refiner import PatchRefiner

TOGETHER = ("trainer.devices=2", "trainer.strategy=ddp")
PATIENCE_S, STEPS = 60, 4


def kill_at_step(step: int) -> None:
    original = PatchRefiner.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            kill()
        return original(self, batch, batch_idx)

    PatchRefiner.training_step = training_step


class Two:
    """Runs ``kind`` in the folder ``made`` in two processes."""

    def __init__(self, kind: str, folder: Path) -> None:
        write_tiny_set(folder / "data", 4)
        self.made, self.logs = folder / "made", [folder / "log0.txt", folder / "log1.txt"]
        self.run = prepare(kind, folder, self.made, "data.num_workers=1")
        self.problems: list[str] = []
        self.kills = self.hanging = 0

    def start(self, rank: int, port: int, at: Point | None) -> int:
        child = os.fork()
        if child:
            return child
        try:
            output = os.open(self.logs[rank], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            names = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
            names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "two"}
            os.environ.update({name: str(value) for name, value in names.items()})
            if at is not None and at.phase == "step":
                kill_at_step(at.number)
            elif at is not None:
                Stopping(self.made, at).install()
            self.run(*TOGETHER)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    def both(self, killed: int | None = None, at: Point | None = None) -> list[int]:
        """Exit statuses; where one ends early, the other gets SIGTERM, and SIGKILL if that does not help."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = {self.start(rank, port, at if rank == killed else None): rank for rank in (0, 1)}
        statuses, deadline, signals = [0, 0], float("inf"), [signal.SIGTERM, signal.SIGKILL]
        while children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child:
                statuses[children.pop(child)] = os.waitstatus_to_exitcode(status)
                deadline = time.monotonic() + PATIENCE_S
            elif time.monotonic() > deadline and signals:
                self.hanging += 1
                deadline = time.monotonic() + PATIENCE_S
                os.kill(next(iter(children)), signals.pop(0))
            time.sleep(0.02)
        return statuses

    def fresh(self) -> None:
        shutil.rmtree(self.made, ignore_errors=True)

    def stop(self, whole: dict[str, Any], killed: int, at: Point) -> None:
        self.fresh()
        if -9 not in self.both(killed, at):
            return
        self.kills += 1
        statuses, left = self.both(), contents(self.made)
        wrong = sorted(name for name in left.keys() | whole.keys() if left.get(name, 0) != whole.get(name, 0))
        said = [log.read_text()[-400:] for log in self.logs]
        if wrong or (statuses != [0, 0] and "exists; " not in said[0]):  # it had only to end
            self.problems.append(
                f"process {killed} at {at}: {statuses}, other {wrong}: {said if any(statuses) else ''}"
            )


def main() -> None:
    torch.set_num_threads(1)
    for kind, kills in (argument.split("=") for argument in sys.argv[2:]):
        folder = Path(sys.argv[1]) / kind
        folder.mkdir()
        two, rng = Two(kind, folder), random.Random(0)
        two.fresh()
        if any(two.both()):
            raise RuntimeError(str([log.read_text() for log in two.logs]))
        whole, last = contents(two.made), 20 if kind == "refine" else 60
        while two.kills < int(kills):
            killed = two.kills % 2
            at = Point(rng.randrange(5 if killed else last), rng.choice(PHASES))
            if killed and kind == "train":  # it writes nothing
                at = Point(rng.randrange(STEPS), "step")
            two.stop(whole, killed, at)
        told = {"kills": two.kills, "hanging": two.hanging, "problems": two.problems}
        print(json.dumps({"kind": kind, **told}), flush=True)


if __name__ == "__main__":
    main()
