"""Shards and coarse results joined to refined results, entry by entry: neither is ever held in memory as a whole."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr.formats.coco import refined_entry
from bpr.formats.entries import Entry, LazySequence, StoredEntries
from bpr.formats.errors import FormatError
from bpr.refine.shards import parse_image, read_shards
from bpr.structures import Rle

_IMAGES_AT_HAND: Final = 64
"""So many images are kept parsed: entries of one image may be scattered over the results file."""


@dataclass(frozen=True, slots=True)
class RefinementSummary:
    """What a run did.

    Attributes:
        images: Images with predictions.
        instances: Predictions in them.
        refined: Predictions that went through the network.
        changed: Of these, those whose mask is another one now.
        patches: Patches that went through the network.
        skipped: Predictions left as they are, by reason.
        seconds: By stage, summed over all processes.
    """

    images: int
    instances: int
    refined: int
    changed: int
    patches: int
    skipped: dict[str, int]
    seconds: dict[str, float]


class RefinedEntries(LazySequence[Entry]):
    """The entries of a results file with refined masks in the place of the coarse ones, made when they are asked for.

    Args:
        entries: With the coarse masks; those that were not refined are given as they are.
        images: Of each refined image, the lines of its shard and which of them it is.
        image_of_entry: (n,) place of its image in ``images``, -1 for entries that were not refined.
    """

    def __init__(
        self, entries: Sequence[Entry], images: Sequence[tuple[StoredEntries, int]], image_of_entry: NDArray[np.int32]
    ) -> None:
        self._entries, self._images, self._image_of_entry = entries, images, image_of_entry
        self._masks = lru_cache(_IMAGES_AT_HAND)(self._read_masks)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """All refined entries, in the order of the input."""
        for position, entry in enumerate(self._entries):
            yield self._refined(position, entry)

    def _make(self, position: int) -> Entry:
        return self._refined(position, self._entries[position])

    def _refined(self, position: int, entry: Entry) -> Entry:
        image = int(self._image_of_entry[position])
        return dict(entry) if image < 0 else refined_entry(entry, self._masks(image)[position])

    def _read_masks(self, image: int) -> dict[int, Rle]:
        lines, number = self._images[image]
        return parse_image(lines[number]).masks


def merge_shards(
    folder: Path, run: str, entries: Sequence[Entry], images: int
) -> tuple[RefinedEntries, RefinementSummary]:
    """Put the refined masks in the place of the coarse ones, in the order of the input.

    Args:
        folder: Of the shards, which must stay as long as the entries are used.
        run: Digest of the run.
        entries: Of the coarse results file.
        images: How many images must have been refined.

    Returns:
        The refined entries; those that were skipped are as they came. And a summary.

    Raises:
        FormatError: If an image is missing in the shards, or a shard cannot be used.
    """
    skipped, seconds = Counter[str](), defaultdict[str, float](float)
    spans: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    places: list[tuple[Path, int]] = []
    image_of_entry = np.full(len(entries), -1, np.int32)
    refined = changed = patches = 0
    for path, start, length, image in read_shards(folder, run):
        image_of_entry[list(image.masks)] = len(places)
        places.append((path, len(spans[path])))
        spans[path].append((start, length))
        refined += len(image.masks)
        changed += image.changed
        patches += image.patches
        skipped.update(image.skipped)
        for stage, spent in image.seconds.items():
            seconds[stage] += spent
    if len(places) != images:
        raise FormatError(folder, None, f"has {len(places)} of {images} images; run refine.py again to do the others")
    lines = {path: StoredEntries(path, found) for path, found in spans.items()}
    merged = RefinedEntries(entries, [(lines[path], number) for path, number in places], image_of_entry)
    summary = RefinementSummary(images, len(entries), refined, changed, patches, dict(skipped), dict(seconds))
    return merged, summary
