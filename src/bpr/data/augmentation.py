"""Augmentation of patches with albumentations, seeded per patch group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bpr.structures import Image, SettingError

if TYPE_CHECKING:
    import albumentations as A


class PatchAugmentation:
    """Applies albumentations to an image patch and its two masks alike.

    Args:
        transforms: Applied in order; geometric ones must keep the size of the patch.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
        import albumentations as A  # only to train: it takes long

        self._compose = A.Compose(list(transforms))

    def check_side(self, side: int) -> None:
        """`SettingError` if patches have another side than ``side``, px, after the last transform that sets it."""
        sized = [one for one in self._compose.transforms if one.p and _size_after(one, side) is not None]
        if sized and (made := _size_after(sized[-1], side)) != (side, side):
            raise SettingError(
                f"augment: {type(sized[-1]).__name__} makes patches of {made} px (h, w), but they are of {side} px "
                "(data.crop_size, or else patch.size): augment=strong_resized follows data.crop_size"
            )

    def seed(self, seed: tuple[int, ...]) -> None:
        """Make the next calls a function of ``seed``."""
        self._compose.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def __call__(self, image: Image, masks: NDArray[np.bool_]) -> tuple[Image, NDArray[np.bool_]]:
        """Transform one patch.

        Args:
            image: (s, s, 3) uint8.
            masks: (2, s, s) bool.

        Returns:
            Arrays of the same shapes and types.
        """
        transformed = self._compose(image=image, masks=masks.view(np.uint8))
        return transformed["image"], np.asarray(transformed["masks"]).astype(np.bool_)


def _size_after(transform: Any, side: int) -> tuple[int, ...] | None:
    """(h, w) that a transform of albumentations gives patches of ``side``, px; None if it says none."""
    if isinstance(size := getattr(transform, "size", None), list | tuple):
        return tuple(size)
    if hasattr(transform, "height") or hasattr(transform, "width"):
        return getattr(transform, "height", side), getattr(transform, "width", side)
    return None
