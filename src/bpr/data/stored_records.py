"""Records of the images to refine, made when they are asked for: their masks stay in the results file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bpr.formats.coco import result_rle
from bpr.formats.entries import Entry, LazySequence, StoredEntries
from bpr.structures import CoarseInstance, ExifUse, ImageRecord, Size


@dataclass(frozen=True, slots=True)
class Positions:
    """Which entries belong to which image, for n images and m entries.

    Attributes:
        entries: (m,) int64, positions in the results file, image by image, increasing within each.
        bounds: (n + 1,) int64; those of image i are ``entries[bounds[i]:bounds[i + 1]]``.
    """

    entries: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, images: NDArray[np.int64], count: int) -> Self:
        """From the image (0 to ``count`` - 1) of each entry, (m,)."""
        order = np.argsort(images, kind="stable")
        return cls(order, np.searchsorted(images[order], np.arange(count + 1)))

    def __getitem__(self, image: int) -> list[int]:
        """Positions of the entries of an image."""
        found: list[int] = self.entries[self.bounds[image] : self.bounds[image + 1]].tolist()
        return found


@dataclass(frozen=True)
class StoredRecords(LazySequence[ImageRecord]):
    """A sequence of `ImageRecord`; see `bpr.data.records.refinement_records`, which checks all that is in it.

    Attributes:
        predictions: The results file, for messages.
        entries: Its content.
        positions: Of the entries of each image.
        image_ids: Of each image.
        paths: Of each image.
        sizes: (h, w) of each image, px.
        exif: What to do with the EXIF orientation of the images.
        chosen: The images that are meant, in this order, by their place in the lists above.
    """

    predictions: Path
    entries: Sequence[Entry]
    positions: Positions
    image_ids: Sequence[int | str]
    paths: Sequence[Path]
    sizes: Sequence[Size]
    exif: ExifUse
    chosen: Sequence[int]

    def __len__(self) -> int:
        return len(self.chosen)

    def _make(self, position: int) -> ImageRecord:
        """Read the masks of one image."""
        image = self.chosen[position]
        size, positions = self.sizes[image], self.positions[image]
        instances = []
        for number, entry in zip(positions, self._take(positions), strict=True):
            mask = result_rle(self.predictions, number, entry, size)
            instances.append(CoarseInstance(mask, entry["category_id"], float(entry["score"]), number))
        return ImageRecord(self.image_ids[image], self.paths[image], size, tuple(instances), exif=self.exif)

    def without(self, image_ids: set[int | str]) -> Self:
        """The records of all other images, in the same order."""
        return replace(self, chosen=[image for image in self.chosen if self.image_ids[image] not in image_ids])

    def _take(self, positions: Sequence[int]) -> Iterator[Entry]:
        if isinstance(self.entries, StoredEntries):
            return self.entries.take(positions)
        return (self.entries[position] for position in positions)
