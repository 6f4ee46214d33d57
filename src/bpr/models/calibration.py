"""Patches that a network is calibrated with when it is quantised, and others to check it with."""

import math
from collections.abc import Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from bpr.data.datasets import RefinementDataset
from bpr.data.inputs import read_input
from bpr.models.quantisation import PATCHES, Patches
from bpr.models.segmenter import PatchSegmenter
from bpr.patches.cutting import Crops
from bpr.patches.engine import Method, PlacedImage, join_crops
from bpr.structures import ImageRecord, Round
from bpr.synthetic.demo import make_demo

_BATCH: Final = 10
_PER_IMAGE: Final = 20
"""Patches of one image, unless there are too few images."""


def demo_patches(segmenter: PatchSegmenter) -> tuple[Patches, Patches]:
    """As `patches_of`, from the training pictures of the demo."""
    with TemporaryDirectory() as folder:
        made = make_demo(folder, "train")
        return patches_of(segmenter, read_input(made.images, made.predictions).records)


def patches_of(segmenter: PatchSegmenter, records: Sequence[ImageRecord]) -> tuple[Patches, Patches]:
    """Patches of all rounds of a network, drawn evenly from images, the same each time.

    Returns:
        `PATCHES` of each round to calibrate with, and as many of other images to check with; fewer where there are not
        as many.
    """
    order = np.random.default_rng(0).permutation(len(records)).tolist()
    both = []
    for half in (order[::2], order[1::2]):
        chosen = [records[number] for number in half]
        both.append(
            [batch for kind in dict.fromkeys(segmenter.rounds) for batch in _drawn(chosen, kind, segmenter.input_size)]
        )
    return both[0], both[1]


def _drawn(records: Sequence[ImageRecord], kind: Round, side: int) -> Iterator[Crops]:
    """At most `PATCHES` patches of one kind, in batches."""
    dataset = RefinementDataset(records, Method(rounds=(kind,), input_size=side))
    most = max(_PER_IMAGE, math.ceil(PATCHES / max(1, len(records))))
    drawn, count = [], 0
    for number in range(len(records)):
        if count == PATCHES:
            break
        placed = dataset[number]
        if isinstance(placed, PlacedImage) and placed.crops is not None:
            images, masks = placed.crops
            chosen = np.random.default_rng(number).permutation(len(masks))[: min(most, PATCHES - count)]
            drawn.append(Crops(images[chosen], masks[chosen]))
            count += len(chosen)
    yield from join_crops(drawn, _BATCH)
