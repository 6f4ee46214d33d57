"""Stop runs at one write after the other: ``python points.py FOLDER KILLS KIND=POINTS ...``.

A kind is ``refine``, ``masks``, ``gzipped``, ``report`` or ``train``. Each run is stopped up to ``KILLS`` times, one
attempt after the other, at points that are spread over all of its writes, and then repeated once more. Modules are
imported once; every attempt is a fork. A line of JSON for each kind is printed: what was tried, and what went wrong.
``signals=N`` interrupts, ``full=0`` fills the disk.
"""

import gc
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filling import filled
from runs import prepare
from stopping import PHASES, Point, Stopping, forked
from tiny import write_tiny_set

from bpr.cli.signals import exit_at_signals
from bpr.formats.files import UnpackedCopy

Run = Callable[[], None]


def contents(folder: Path) -> dict[str, Any]:
    """What is in a folder, at any depth, by name.

    But for the first checkpoint of a training: Lightning keeps that from which a training went on, which is this one
    before there is a ``last.ckpt``.
    """
    found = (path for path in folder.rglob("*") if path.name != "step1.ckpt")
    return {path.relative_to(folder).as_posix(): content(path) for path in found}


def content(path: Path) -> Any:
    """Its bytes; of a page the end, as it says how long a run took.

    Of a checkpoint all values, as pickles of equal ones vary; but for Lightning's counts of batches and epochs, where
    an epoch that was begun twice counts once or twice.
    """
    if path.is_dir():
        return None
    if path.suffix == ".ckpt":
        return values({**torch.load(path, weights_only=True), "loops": None})
    return path.read_bytes()[-7:] if path.suffix == ".html" else path.read_bytes()


def values(found: Any) -> Any:
    """With tensors as their type, shape and bytes."""
    if isinstance(found, torch.Tensor):
        return found.dtype, found.shape, found.numpy().tobytes()
    if isinstance(found, dict):
        return {key: values(value) for key, value in found.items()}
    return [values(value) for value in found] if isinstance(found, list | tuple) else found


class Campaign:
    """Runs ``run`` in the folder ``made``, always the same, as names of files are among what is written."""

    def __init__(self, folder: Path, run: Run, checked: bool) -> None:
        self.made, self.log, self.run, self.checked = folder / "made", folder / "log.txt", run, checked
        counted = Stopping(self.made)
        self.whole = self._fresh(lambda: self._counting(counted, folder / "seen.json"))
        self.seen = json.loads((folder / "seen.json").read_text())
        self.problems: list[str] = []
        self.kills = 0

    def points(self) -> list[Point]:
        """Only a write can be half done."""
        return [
            Point(number, phase)
            for number, (what, _) in enumerate(self.seen)
            for phase in PHASES
            if phase != "half" or what == "write"
        ]

    def stop(self, *points: Point) -> None:
        """Stop the first attempts at these points, and compare what one that is not stopped leaves."""
        shutil.rmtree(self.made, ignore_errors=True)
        for point in points:
            status = forked(lambda point=point: self._stopped(point), self.log)
            if status != -9:  # it had less to do than the first attempt
                break
            self.kills += 1
            self._check(points, {k: v for k, v in contents(self.made).items() if not ours(k)}, part=True)
        status = forked(self.run, self.log)
        left = contents(self.made)
        if status != 0 and not (self._refused() and left == self.whole):
            self.problems.append(f"{self._named(points)}: exit {status}: {self.log.read_text()[-600:]}")
        else:
            self._check(points, left)

    def _refused(self) -> bool:
        """Whether the last attempt found a result, and was not asked to replace it."""
        return any(words in self.log.read_text() for words in ("exists; ", "is not empty; ", " steps already: "))

    def interrupt(self, number: int, wanted: int) -> tuple[int, list[str]]:
        """How the run ends if Ctrl-C or SIGTERM comes in between, and what it says then."""
        shutil.rmtree(self.made, ignore_errors=True)
        at = Point(3 + number * (len(self.seen) - 3) // wanted, "before")
        sent = (signal.SIGINT, signal.SIGTERM)[number % 2]
        end = forked(lambda: self._signalled(at, sent), self.log), self.log.read_text().splitlines()
        status = forked(self.run, self.log)
        self._check([at], contents(self.made) if status == 0 else {})
        return end

    def _signalled(self, at: Point, sent: signal.Signals) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in jobs of the background
        exit_at_signals()
        Stopping(self.made, at, sent).install()
        self.run()

    def _check(self, points, left, part: bool = False) -> None:
        names = sorted(k for k in left.keys() | self.whole.keys() if left.get(k, 0) != self.whole.get(k, 0))
        wrong = [name for name in names if not part or (self.checked and name in left)]
        if wrong:
            self.problems.append(f"{self._named(points)}: {'stopped' if part else 'ended'} with other {wrong}")

    def _named(self, points) -> str:
        return "; ".join(f"{p.number} {p.phase} {self.seen[p.number]}" for p in points if p.number < len(self.seen))

    def _fresh(self, work: Callable[[], None]) -> dict[str, bytes | None]:
        shutil.rmtree(self.made, ignore_errors=True)
        if status := forked(work, self.log):
            raise RuntimeError(f"exit {status}: {self.log.read_text()}")
        return contents(self.made)

    def _counting(self, stopping: Stopping, path: Path) -> None:
        stopping.install()
        self.run()
        path.write_text(json.dumps([[what, os.path.relpath(name, self.made)] for what, name in stopping.seen]))

    def _stopped(self, point: Point) -> None:
        Stopping(self.made, point).install()
        self.run()


def ours(name: str) -> bool:
    """What an interrupted run may leave beside whole files."""
    return ".parts" in name or name.endswith(".tmp")


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    for kind, wanted in (argument.split("=") for argument in sys.argv[3:]):
        (folder / kind).mkdir()
        print(json.dumps(tried(kind, folder / kind, int(wanted), kills)), flush=True)


def tried(kind: str, folder: Path, wanted: int, kills: int) -> dict[str, Any]:
    write_tiny_set(folder / "data")
    if kind == "full":
        run = prepare("refine", folder, folder / "made")
        return filled(folder / "made", folder / "log.txt", run, contents)
    campaign = Campaign(folder, prepare(kind, folder, folder / "made"), checked=kind != "train")
    if kind == "signals":
        ends = [campaign.interrupt(number, wanted) for number in range(wanted)]
        return {"kind": kind, "ends": ends, "problems": campaign.problems}
    points, rng = campaign.points(), random.Random(0)
    for number in range(wanted):
        first = points[number * len(points) // wanted] if wanted < len(points) else points[number % len(points)]
        campaign.stop(first, *rng.choices(points, k=rng.randrange(kills)))
    gc.collect()
    if kind == "gzipped":
        UnpackedCopy(folder / "data" / "coarse.json.gz")  # as the next run: it removes what killed ones left
    left = [path.name for path in folder.glob("temporary/*")]
    used = os.times()
    return {
        "kind": kind,
        "writes": len(campaign.seen),
        "points": min(wanted, len(points)),
        "runs": wanted,
        "kills": campaign.kills,
        "problems": campaign.problems + [f"left in the temporary folder: {left}"] * bool(left),
        "cpu_s": round(used.user + used.system + used.children_user + used.children_system, 1),
    }


if __name__ == "__main__":
    main()
