"""Refine very many images with a stub network, and see whether anything grows.

``python tests/soak/soak.py FOLDER [--images 100000] [--masks 1] [--processes 2] [--workers 1] [--plot FILE.png]``

The network gives back the mask that it is shown, so that the output must be the input, in order. Resident memory, open
files, threads and shared memory of all processes are looked at every few seconds. Needs psutil, and matplotlib to plot.
"""

import argparse
import json
import sys
import time
from contextlib import suppress
from itertools import groupby, zip_longest
from pathlib import Path

import cv2
import numpy as np
import psutil

from bpr import rle
from bpr.formats.coco import new_entry
from bpr.refine.progress import RefinementRun
from bpr.refine.shards import RefinedImage, ShardWriter

SCRIPT = Path(__file__).parents[1] / "refine" / "identity_run.py"
SIZE = 48, 64
"""Height and width of the images, px."""

TITLES = {"memory": "resident memory, MB", "files": "open files", "threads": "threads", "shared": "shared memory, MB"}


def generate(folder: Path, images: int, masks: int) -> Path:
    """Write images of a few contents, and JSON Lines with ``masks`` discs in each image; gives the path of these."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    contents = [cv2.imencode(".png", rng.integers(0, 255, (*SIZE, 3), np.uint8))[1].tobytes() for _ in range(100)]
    for number in range(images):
        (folder / "images" / f"{number:07d}.png").write_bytes(contents[number % len(contents)])
    return write_coarse(folder, images, masks)


def write_coarse(folder: Path, images: int, masks: int) -> Path:
    """JSON Lines with ``masks`` discs in each image."""
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    discs = [rle.encode((xs - x) ** 2 + (ys - 24) ** 2 < 12**2) for x in range(16, 48)]
    path = folder / "coarse.jsonl"
    with path.open("w") as file:
        for number in range(images):
            for mask in range(masks):
                entry = new_entry(number, 1, discs[(number + mask) % len(discs)], 0.5)
                file.write(json.dumps({**entry, "file_name": f"{number:07d}.png"}) + "\n")
    return path


def pretend(coarse: Path, refined: Path) -> None:
    """Write the progress of a run that was interrupted before it merged: every mask as it came."""
    run = RefinementRun(refined, {})
    shard = ShardWriter(run.folder, run.digest)
    with coarse.open() as file:
        entries = enumerate(map(json.loads, file))
        for image, group in groupby(entries, lambda numbered: numbered[1]["image_id"]):
            shard.write(RefinedImage(image, {number: entry["segmentation"] for number, entry in group}, 0, 0))
    shard.close()


def shared_memory(pid: int) -> float:
    """What a process has in use of memory that belongs to no file, such as batches from the workers, MB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["RssShmem"].split()[0]) / 1024


def look(process: psutil.Popen) -> dict[str, dict[int, float]]:
    """Memory and shared memory (MB), open files and threads, by process id, of a process and all below it."""
    found: dict[str, dict[int, float]] = {name: {} for name in TITLES}
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError, KeyError), one.oneshot():
            pid = one.pid
            found["memory"][pid] = one.memory_info().rss / 1e6
            found["files"][pid] = one.num_fds()
            found["threads"][pid] = one.num_threads()
            found["shared"][pid] = shared_memory(pid)
    return found


def run(folder: Path, coarse: Path, processes: int, workers: int, every: float) -> list[dict]:
    """Refine into ``refined.jsonl``; gives what was seen, with the seconds since the start and the images done."""
    command = [sys.executable, SCRIPT, folder / "images", coarse, folder / "refined.jsonl", processes, workers]
    seen, start = [], time.monotonic()
    with (folder / "log.txt").open("w") as log:
        process = psutil.Popen([str(part) for part in command], stdout=log, stderr=log)
        while process.poll() is None:
            shards = (folder / "refined.jsonl.parts").glob("rank*.jsonl")
            written = sum(path.stat().st_size for path in shards)
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                seen.append({"seconds": time.monotonic() - start, "written": written, **look(process)})
            time.sleep(every)
    if process.returncode:
        sys.exit((folder / "log.txt").read_text())
    return seen


def check(coarse: Path, refined: Path) -> int:
    """How many predictions came back, each in its place, with its mask; ends with the first that did not."""
    number = 0
    with coarse.open() as before, refined.open() as after:
        for number, (given, got) in enumerate(zip_longest(before, after), 1):
            if given is None or got is None or json.loads(given) != json.loads(got):
                sys.exit(f"line {number} of {refined} is not that of the input")
    return number


def growth(seen: list[dict]) -> dict[str, tuple[float, float]]:
    """Of all processes together: the mean in the second fifth of the work, and in the last."""
    most = max(look["written"] for look in seen)
    at_work = [look for look in seen if 0 < look["written"] < most]
    fifth = max(1, len(at_work) // 5)
    parts = at_work[fifth : 2 * fifth], at_work[-fifth:]
    return {name: tuple(float(np.mean([sum(x[name].values()) for x in part])) for part in parts) for name in TITLES}


def draw(seen: list[dict], path: Path, title: str) -> None:
    """One panel for each kind, one line for each process."""
    from matplotlib.figure import Figure

    figure = Figure((10, 6), layout="constrained")
    figure.suptitle(title)
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, TITLES.items(), strict=True):
        for pid in sorted({pid for one in seen for pid in one[name]}):
            points = [(one["seconds"] / 60, one[name][pid]) for one in seen if pid in one[name]]
            axes.plot(*zip(*points, strict=True), linewidth=1.5)
        axes.set(title=label, xlabel="minutes")
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Generate, run, check, print; exit status 1 if something is missing or grew by more than a tenth."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path, help="a new folder for the data and what comes out")
    options.add_argument("--images", type=int, default=100_000)
    options.add_argument("--masks", type=int, default=1, help="in each image")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--workers", type=int, default=1, help="of the loader, for each process")
    options.add_argument(
        "--merge", action="store_true", help="only read and merge, as if all images were refined before"
    )
    options.add_argument("--every", type=float, default=5, help="seconds between two looks")
    options.add_argument("--plot", type=Path)
    chosen = options.parse_args()
    coarse = generate(chosen.folder, chosen.images, chosen.masks)
    if chosen.merge:
        pretend(coarse, chosen.folder / "refined.jsonl")
    seen = run(chosen.folder, coarse, chosen.processes, chosen.workers, chosen.every)
    (chosen.folder / "seen.json").write_text(json.dumps(seen))
    count = check(coarse, chosen.folder / "refined.jsonl")
    print(f"{chosen.images} images, {count} predictions, all in place; {seen[-1]['seconds'] / 60:.1f} minutes")
    print(f"highest memory of one process: {max(max(one['memory'].values()) for one in seen):.0f} MB")
    grown = {} if chosen.merge else growth(seen)
    for name, (early, late) in grown.items():
        print(f"{TITLES[name]}: {early:.1f} in the second fifth, {late:.1f} in the last")
    if chosen.plot:
        draw(seen, chosen.plot, f"{chosen.images} images, {chosen.processes} processes")
    if any(late > 1.1 * early for early, late in grown.values()):
        sys.exit("something grows")


if __name__ == "__main__":
    main()
