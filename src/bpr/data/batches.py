"""Batches of patches to train on, and of images to refine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bpr.formats.faults import Fault
from bpr.patches.engine import PlacedImage


class PatchGroup(NamedTuple):
    """Request for patches of one image: their rows in the index, and the seed of their augmentation."""

    seed: tuple[int, ...]
    patches: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PatchBatch:
    """Patches to train on.

    Attributes:
        images: (n, 3, s, s) uint8 RGB, channels last in memory.
        coarse: (n, s, s) bool, predicted mask.
        truth: (n, s, s) bool, annotated mask.
    """

    images: Tensor
    coarse: Tensor
    truth: Tensor

    def __post_init__(self) -> None:
        n, side = len(self.images), self.images.shape[-1]
        if self.images.shape != (n, 3, side, side):
            raise ValueError(f"images must be (n, 3, s, s), got {tuple(self.images.shape)}")
        for masks in (self.coarse, self.truth):
            if masks.shape != (n, side, side):
                raise ValueError(f"masks must be {(n, side, side)}, got {tuple(masks.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch on ``device``."""
        parts = self.images, self.coarse, self.truth
        return type(self)(*(part.to(device, non_blocking=non_blocking) for part in parts))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory."""
        return type(self)(*(part.pin_memory() for part in (self.images, self.coarse, self.truth)))


@dataclass(frozen=True, slots=True)
class BadImage:
    """An image that cannot be used: its masks stay as they came."""

    image_id: int | str
    fault: Fault


@dataclass(frozen=True, slots=True)
class RefinementBatch:
    """Images to refine, in the order of the loader, placed and cut for the first round; and those that are ``bad``."""

    images: tuple[PlacedImage, ...]
    bad: tuple[BadImage, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch: its patches move when the network sees them (Lightning wants this method)."""
        return self


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """(n, h, w, 3) uint8 crops as an (n, 3, h, w) tensor that shares their memory (channels last)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def collate_training(groups: Sequence[PatchBatch]) -> PatchBatch:
    """Join groups of patches into one batch."""
    return PatchBatch(
        images=torch.cat([group.images for group in groups]),
        coarse=torch.cat([group.coarse for group in groups]),
        truth=torch.cat([group.truth for group in groups]),
    )


def collate_refinement(images: Sequence[PlacedImage | BadImage]) -> RefinementBatch:
    """Join several images into one batch."""
    placed = tuple(image for image in images if isinstance(image, PlacedImage))
    return RefinementBatch(placed, tuple(image for image in images if isinstance(image, BadImage)))
