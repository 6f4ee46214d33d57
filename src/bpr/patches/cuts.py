"""The patches of all masks of an image: where they are, their crops, and the masks that they make."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpr.patches.cutting import bounding_box, crop, propose_boxes, working_window
from bpr.patches.pasting import mean_probability
from bpr.structures import Boxes, Image, Mask, PatchSpec, Probabilities, Window

Crops = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""(n, s, s, 3) uint8 colours and (n, s, s) bool coarse masks."""


class Cut(NamedTuple):
    """Where the patches of one mask of a stack are: ``boxes``, inside ``window``."""

    number: int
    window: Window
    boxes: Boxes


def cut(masks: NDArray[np.bool_], patch: PatchSpec) -> list[Cut]:
    """One for each of (n, h, w) masks; without boxes where a mask is empty."""
    return [_cut(number, mask, patch) for number, mask in enumerate(masks)]


def _cut(number: int, mask: Mask, patch: PatchSpec) -> Cut:
    window = working_window(bounding_box(mask), mask.shape, patch.size)
    x1, y1, x2, y2 = window
    if (x1, y1) == (x2, y2):
        return Cut(number, window, np.zeros((0, 4), np.int64))
    return Cut(number, window, propose_boxes(mask[y1:y2, x1:x2], patch, (x1, y1), mask.shape))


def batches(
    images: Sequence[Image], stacks: Sequence[NDArray[np.bool_]], cuts: Sequence[Sequence[Cut]], most: int
) -> Iterator[Crops]:
    """Crops of at most ``most`` patches, of one mask after the other, across images."""
    colours: list[NDArray[np.uint8]] = []
    coarse: list[NDArray[np.bool_]] = []
    for image, masks, per_image in zip(images, stacks, cuts, strict=True):
        for number, _, boxes in per_image:
            for box in boxes:
                colours.append(crop(image, box[None]))
                coarse.append(crop(masks[number], box[None]))
                if len(colours) == most:
                    yield np.concatenate(colours), np.concatenate(coarse)
                    colours, coarse = [], []
    if colours:
        yield np.concatenate(colours), np.concatenate(coarse)


def assemble(
    coarse: NDArray[np.bool_],
    cuts: Sequence[Cut],
    predicted: Probabilities,
    threshold: float,
    keep_emptied: bool,
    probabilities: NDArray[np.float32] | None = None,
) -> NDArray[np.bool_]:
    """The refined masks of one image.

    Args:
        coarse: (n, h, w) bool; not modified.
        cuts: Of each mask.
        predicted: Of their patches, in their order.
        threshold: In [0, 1). A pixel is foreground when its mean probability is above this.
        keep_emptied: A mask of which nothing would be left stays as it is, as in ``refine.py``.
        probabilities: (n, h, w) float32, to be filled with the means; None needs a fifth of the memory.

    Returns:
        (n, h, w) bool.
    """
    refined = coarse.copy()
    if probabilities is not None:
        probabilities[:] = coarse
    for number, (x1, y1, x2, y2), boxes in cuts:
        part = np.s_[number, y1:y2, x1:x2]
        patches, predicted = predicted[: len(boxes)], predicted[len(boxes) :]
        means = mean_probability(coarse[part], patches, boxes - (x1, y1, x1, y1))
        refined[part] = means > threshold
        if keep_emptied and not refined[number].any():
            refined[number] = coarse[number]
        if probabilities is not None:
            probabilities[part] = means
    return refined
