"""Shards and coarse entries merged to refined entries, which are never in memory all at once."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr.formats.coco import refined_entry
from bpr.formats.entries import Entry, StoredEntries
from bpr.formats.errors import FormatError
from bpr.refine.shards import parse_image, read_shards
from bpr.refine.summary import RefinementSummary
from bpr.structures import Rle

_CACHED_IMAGES: Final = 64
"""Number of images kept parsed: entries of one image may be scattered over the results file."""


@dataclass(frozen=True, slots=True)
class RefinedEntries:
    """The entries of a results file, each with what it became; only a few are ever in memory.

    Attributes:
        entries: With the coarse masks.
        images: Of each refined image, the lines of its shard and which of them it is; the shards must stay.
        image_of_entry: (n,) int32, place of its image in ``images``, -1 for entries that were not refined.
    """

    entries: Sequence[Entry]
    images: Sequence[tuple[StoredEntries, int]]
    image_of_entry: NDArray[np.int32]

    def __iter__(self) -> Iterator[tuple[Entry, Entry]]:
        """Coarse and refined entries, in the order of the input; those that were skipped are as they came."""
        masks = lru_cache(_CACHED_IMAGES)(self._read_masks)
        for position, entry in enumerate(self.entries):
            image = int(self.image_of_entry[position])
            yield entry, dict(entry) if image < 0 else refined_entry(entry, masks(image)[position])

    def _read_masks(self, image: int) -> dict[int, Rle]:
        lines, number = self.images[image]
        return parse_image(lines[number]).masks


def merge_shards(
    folder: Path, digest: str, entries: Sequence[Entry], images: int
) -> tuple[RefinedEntries, RefinementSummary]:
    """Join the shards of a run to the coarse entries.

    Args:
        folder: Of the shards, which must stay as long as the entries are used.
        digest: Of the run.
        entries: Of the coarse results file.
        images: How many images must have been refined.

    Returns:
        The entries, coarse and refined; and a summary.

    Raises:
        FormatError: If an image is missing in the shards, or a shard cannot be used.
    """
    skipped = Counter[str]()
    spans: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    places: list[tuple[Path, int]] = []
    image_of_entry = np.full(len(entries), -1, np.int32)
    refined = changed = patches = 0
    for path, start, length, image in read_shards(folder, digest):
        if any(not 0 <= position < len(entries) for position in image.masks):
            raise FormatError(
                path, None, f"has a mask that is none of the {len(entries)} predictions; remove this file"
            )
        image_of_entry[list(image.masks)] = len(places)
        places.append((path, len(spans[path])))
        spans[path].append((start, length))
        refined += len(image.masks)
        changed += image.changed
        patches += image.patches
        skipped.update(image.skipped)
    if len(places) != images:
        raise FormatError(folder, None, f"has {len(places)} of {images} images; run refine.py again to do the others")
    lines = {path: StoredEntries(path, found) for path, found in spans.items()}
    merged = RefinedEntries(entries, [(lines[path], number) for path, number in places], image_of_entry)
    return merged, RefinementSummary(images, len(entries), refined, changed, patches, dict(skipped))
