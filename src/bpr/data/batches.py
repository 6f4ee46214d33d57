"""What one step of the network is fed with, in training and in refinement."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bpr.structures import Boxes, Mask, Size, Window


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
        images, coarse, truth = (t.to(device, non_blocking=non_blocking) for t in self._tensors())
        return replace(self, images=images, coarse=coarse, truth=truth)

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory."""
        images, coarse, truth = (t.pin_memory() for t in self._tensors())
        return replace(self, images=images, coarse=coarse, truth=truth)

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.images, self.coarse, self.truth


@dataclass(frozen=True, slots=True)
class CoarseWindow:
    """The part of a coarse mask that its patches can touch.

    Attributes:
        position: Entry of the results file.
        mask: (h, w) bool, the extent of ``window``.
        window: Where in the image it lies.
        boxes: (n, 4), px of the image.
    """

    position: int
    mask: Mask
    window: Window
    boxes: Boxes


@dataclass(frozen=True, slots=True)
class ImageWindows:
    """Where the patches of one image belong.

    Attributes:
        image_id: Id of the image in the results file.
        size: (h, w) of the image, px.
        windows: One for each instance that has patches.
        skipped: How many instances stay as they are, by reason.
        seconds: Time spent so far, by stage.
    """

    image_id: int | str
    size: Size
    windows: tuple[CoarseWindow, ...]
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def patches(self) -> int:
        """Number of patches of all instances."""
        return sum(len(window.boxes) for window in self.windows)


class ImagePatches(NamedTuple):
    """One image, ready for the network: crops (n, s, s, 3) uint8 and (n, s, s) bool, n = ``layout.patches``."""

    layout: ImageWindows
    images: NDArray[np.uint8]
    coarse: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RefinementBatch:
    """Patches of several images; only the crops move to the device.

    Attributes:
        layouts: The images; their windows in order, and the boxes of those in order, are the rows below.
        images: (n, 3, s, s) uint8 RGB, channels last in memory.
        coarse: (n, s, s) bool.
    """

    layouts: tuple[ImageWindows, ...]
    images: Tensor
    coarse: Tensor

    def __post_init__(self) -> None:
        n = sum(layout.patches for layout in self.layouts)
        if len(self.images) != n or len(self.coarse) != n:
            raise ValueError(f"{n} boxes, but {len(self.images)} image and {len(self.coarse)} mask crops")

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch with its crops on ``device``."""
        images, coarse = (t.to(device, non_blocking=non_blocking) for t in (self.images, self.coarse))
        return replace(self, images=images, coarse=coarse)

    def pin_memory(self) -> Self:
        """The same batch with its crops in page-locked memory."""
        return replace(self, images=self.images.pin_memory(), coarse=self.coarse.pin_memory())


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


def collate_refinement(items: Sequence[ImagePatches]) -> RefinementBatch:
    """Join the patches of several images into one batch; images without patches may be among them."""
    filled = [item for item in items if item.layout.patches] or items[:1]
    return RefinementBatch(
        layouts=tuple(item.layout for item in items),
        images=to_tensor(np.concatenate([item.images for item in filled])),
        coarse=torch.from_numpy(np.concatenate([item.coarse for item in filled])),
    )
