"""Shards and coarse entries merged to refined entries, which are never in memory all at once."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr.formats.coco import refined_entry
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError
from bpr.formats.faults import Fault
from bpr.refine.shards import parse_image, read_shards
from bpr.refine.summary import RefinementSummary
from bpr.structures import Rle

_CACHED_IMAGES: Final = 64
"""Number of images kept parsed: entries of one image may be scattered over the results file."""


def merge_shards(
    folder: Path, digest: str, entries: Sequence[Entry], images: int, faults: Sequence[Fault] = ()
) -> tuple[Iterator[tuple[Entry, Entry]], RefinementSummary]:
    """Join the shards of a run to its coarse entries, and sum up.

    ``faults`` are those that were found before there were shards.

    Returns:
        Coarse and refined entries, in the order of the input; those that were skipped are as they came. The shards
        must stay until all are read.

    Raises:
        FormatError: If not as many ``images`` are in the shards, or a shard cannot be used.
    """
    skipped, bad_images = Counter[str](), list[Fault]()
    places: list[tuple[Path, int, int]] = []
    image_of_entry = np.full(len(entries), -1, np.int32)
    refined = changed = patches = 0
    for path, start, length, image in read_shards(folder, digest):
        if any(not 0 <= position < len(entries) for position in image.masks):
            problem = f"has a mask that is none of the {len(entries)} predictions; remove this file"
            raise FormatError(path, None, problem)
        image_of_entry[list(image.masks)] = len(places)
        places.append((path, start, length))
        refined += len(image.masks)
        changed += image.changed
        patches += image.patches
        skipped.update(image.skipped)
        bad_images += [] if image.fault is None else [image.fault]
    if len(places) != images:
        raise FormatError(folder, None, f"has {len(places)} of {images} images; run refine.py again to do the others")
    kept = [fault for fault in faults if fault.masks]
    kept += sorted(bad_images, key=lambda fault: fault.place)  # the same whichever process met them
    instances = refined + skipped.total() + sum(fault.masks for fault in kept)
    summary = RefinementSummary(images, instances, refined, changed, patches, dict(skipped), tuple(kept))
    return _merged(entries, places, image_of_entry), summary


def _merged(
    entries: Sequence[Entry], places: Sequence[tuple[Path, int, int]], image_of_entry: NDArray[np.int32]
) -> Iterator[tuple[Entry, Entry]]:
    @lru_cache(_CACHED_IMAGES)
    def masks(image: int) -> dict[int, Rle]:
        path, start, length = places[image]
        with path.open("rb") as file:
            file.seek(start)
            return parse_image(json.loads(file.read(length))).masks

    for position, entry in enumerate(entries):
        image = int(image_of_entry[position])
        yield entry, copy(entry) if image < 0 else refined_entry(entry, masks(image)[position])
