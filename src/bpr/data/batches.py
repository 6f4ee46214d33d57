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


class PatchBatch(NamedTuple):
    """Patches to train on.

    Attributes:
        images: (n, 3, s, s) uint8 RGB, channels last in memory.
        coarse: (n, s, s) bool, predicted mask.
        truth: (n, s, s) bool, annotated mask.
    """

    images: Tensor
    coarse: Tensor
    truth: Tensor


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
    return PatchBatch(*map(torch.cat, zip(*groups, strict=True)))


def collate_refinement(images: Sequence[PlacedImage | BadImage]) -> RefinementBatch:
    """Join several images into one batch."""
    placed = tuple(image for image in images if isinstance(image, PlacedImage))
    return RefinementBatch(placed, tuple(image for image in images if isinstance(image, BadImage)))
