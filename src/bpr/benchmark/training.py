"""``python -m bpr.benchmark.training``: how fast the patch index is built, and training patches are loaded."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

import cv2
import hydra
import torch
from hydra.utils import instantiate
from torch.utils.data import DataLoader

from bpr.command import exit_code
from bpr.config import register_schemas
from bpr.data.batches import collate_training
from bpr.data.datasets import PatchDataset
from bpr.data.index import build_index
from bpr.data.records import training_records
from bpr.data.sampling import PatchGroupSampler
from bpr.formats.annotations import read_annotations
from bpr.structures import PatchSpec

GROUP: Final = 4
"""Patches of one decoded image, as in ``conf/data/base.yaml``."""
_GROUPS_PER_BATCH: Final = 8
_WARM_UP: Final = 3
"""Batches before the clock starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 if a file cannot be used."""
    options = argparse.ArgumentParser(prog="python -m bpr.benchmark.training", description=__doc__)
    options.add_argument("--images", type=Path, required=True, metavar="DIR")
    options.add_argument("--annotations", type=Path, required=True, metavar="FILE")
    options.add_argument("--predictions", type=Path, required=True, nargs="+", metavar="FILE")
    options.add_argument("--conf", type=Path, default=Path("conf"), help="folder of the configuration (default: conf)")
    options.add_argument("--augment", default="paper", help="augmentation, of conf/augment (default: paper)")
    options.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    options.add_argument("--batches", type=int, default=200, help="batches of 32 patches to load (default: 200)")
    chosen = options.parse_args(arguments)
    return exit_code(lambda: _measure(chosen))


def _measure(chosen: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    spec = PatchSpec()
    records = training_records(chosen.images, read_annotations(chosen.annotations), chosen.predictions)
    start = perf_counter()
    index = build_index(records, spec)
    spent = perf_counter() - start
    print(f"index: {len(index)} patches of {len(index.image)} instances in {spent:.2f} s: {len(index) / spent:.0f}/s")
    register_schemas()
    with hydra.initialize_config_dir(str(chosen.conf.resolve()), version_base="1.3"):
        cfg = hydra.compose("train", overrides=[f"augment={chosen.augment}"])
        augmentation = instantiate(cfg.augment, _convert_="object")
    loader = DataLoader(
        PatchDataset(records, index, spec.size, augmentation),
        batch_size=_GROUPS_PER_BATCH,
        sampler=PatchGroupSampler(index, GROUP),
        collate_fn=collate_training,
        drop_last=True,
        num_workers=chosen.workers,
    )
    batches = iter(loader)
    for _ in itertools.islice(batches, _WARM_UP):
        pass
    start = perf_counter()
    patches = sum(len(batch) for batch in itertools.islice(batches, chosen.batches))
    spent = perf_counter() - start
    each = patches / spent / max(chosen.workers, 1)
    print(f"loader, augment={chosen.augment}: {patches} patches in {spent:.2f} s: {each:.0f}/s per worker process")


if __name__ == "__main__":
    sys.exit(main())
