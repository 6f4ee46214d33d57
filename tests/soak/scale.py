"""What everything but the network costs: ``python tests/soak/scale.py FOLDER [--images 10000 100000] [--ranks 64]``.

Reads, divides among ranks, writes the shards of all ranks, resumes with half of them and merges, for each number of
images, with what the package runs. Prints CPU seconds and the highest memory, MB, of each step; what is imported is in
it. Images are hard links to a few files.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bpr.data.datamodule import RefinementDataModule
from bpr.data.inputs import RefinementInput, read_input
from bpr.patches.engine import Method
from bpr.refine.digest import digest, image_state
from bpr.refine.progress import RefinementRun
from bpr.refine.shards import RefinedImage, ShardWriter
from bpr.structures import PatchSpec
from soak import SIZE, write_coarse

FILES = 100
COLUMNS = ("read", "protect", "digest", "divide", "write", "resume", "merge")


def generate(folder: Path, images: int, masks: int) -> Path:
    """Hard links to a few images, and JSON Lines with ``masks`` discs in each; gives the path of these."""
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        path = folder / "images" / f"{number:07d}.png"
        if number < FILES:
            cv2.imwrite(str(path), np.full((*SIZE, 3), number, np.uint8))
        else:
            os.link(path.with_name(f"{number % FILES:07d}.png"), path)
    return write_coarse(folder, images, masks)


class Meter:
    """CPU seconds and the highest resident memory, MB, of named steps of this process."""

    def __init__(self) -> None:
        self.costs: dict[str, tuple[float, float]] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Do ``work``, and keep what it cost."""
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest memory until now
        start = time.process_time()
        result = work()
        seconds = time.process_time() - start
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.costs[name] = seconds, int(lines["VmHWM"].split()[0]) / 1024
        return result


def write_shards(run: RefinementRun, given: RefinementInput, rank: int, ranks: int, half: bool = False) -> None:
    """The shard of one rank, or of half of its images: every mask as it came."""
    records, writer = given.records, ShardWriter(run.folder, run.digest, rank)
    numbers = range(rank, len(records), ranks)
    for number in numbers[: len(numbers) // 2] if half else numbers:
        record = records[number]
        masks = {one.position: one.rle for one in record.instances}
        writer.write(RefinedImage(record.image_id, masks, 0, 0, state=image_state(record.path)))
    writer.close()


def measure(folder: Path, images: int, masks: int, ranks: int) -> dict[str, tuple[float, float]]:
    """All steps for a number of images; ``divide`` and ``write`` are one of the ``ranks`` each."""
    coarse, meter = generate(folder, images, masks), Meter()
    given = meter("read", lambda: read_input(folder / "images", coarse))
    meter("protect", given.inputs)
    settings = meter("digest", lambda: digest({"images": [str(path.resolve()) for path in given.records.paths]}))
    whole, half = (RefinementRun(folder / f"{name}.jsonl", {"settings": settings}) for name in ("whole", "half"))
    loader = RefinementDataModule(given.records, Method(PatchSpec(32))).predict_dataloader
    meter("divide", loader)
    meter("write", lambda: write_shards(whole, given, 0, ranks))
    for rank in range(1, ranks):
        write_shards(whole, given, rank, ranks)
    for rank in range(ranks):
        write_shards(half, given, rank, ranks, half=True)
    left = meter("resume", lambda: half.remaining(given.records))
    done = sum(len(range(rank, images, ranks)) // 2 for rank in range(ranks))
    assert len(left) == images - done
    meter("merge", lambda: whole.finish(given))
    with coarse.open() as before, whole.output.open() as after:
        assert sum(1 for _ in before) == sum(1 for _ in after) == images * masks
    return meter.costs


def main() -> None:
    """Measure each number of images, and print a table of which each row is one."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path, help="a new folder; what is in it is removed again")
    options.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--masks", type=int, default=3, help="in each image")
    options.add_argument("--ranks", type=int, default=64)
    chosen = options.parse_args()
    print(f"CPU seconds, highest memory in MB; {chosen.masks} masks in each image, {chosen.ranks} ranks")
    print("images".rjust(9), *(name.rjust(13) for name in COLUMNS))
    for images in chosen.images:
        costs = measure(chosen.folder / str(images), images, chosen.masks, chosen.ranks)
        cells = (f"{costs[name][0]:.2f} {costs[name][1]:6.0f}".rjust(13) for name in COLUMNS)
        print(f"{images:9}", *cells, flush=True)
        shutil.rmtree(chosen.folder / str(images))


if __name__ == "__main__":
    main()
