"""Augmentation of patches with albumentations, seeded per patch group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
        """`SettingError` if a transform makes patches of another side than ``side``, px."""
        for transform in self._compose.transforms:
            made = getattr(transform, "size", None) or [getattr(transform, name, side) for name in ("height", "width")]
            if [*made] != [side, side]:
                name = type(transform).__name__
                raise SettingError(
                    f"augment: {name} makes patches of {[*made]} px (h, w), but they are of {side} px "
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
