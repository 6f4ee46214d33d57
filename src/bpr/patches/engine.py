"""The refinement of masks, whoever asks for it: in each round place, cut, let the network see, and paste."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bpr.patches.cutting import Crops, PlacedMask, cut_patches, place_patches
from bpr.patches.pasting import paste_patches
from bpr.patches.windows import MaskWindow
from bpr.structures import Image, PatchSpec, Probabilities, Round, Size

Network: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.bool_]], Callable[[], Probabilities]]
"""Starts on (n, s, s, 3) uint8 RGB crops and (n, s, s) bool masks; what it returns waits for the probabilities of
foreground, (n, s, s) float32, or with trust (n, 2, s, s)."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of patches that are done, and of all patches of the round."""


@dataclass(frozen=True, slots=True)
class ImageMasks:
    """The masks of one image.

    Attributes:
        image_id: Of the image, or its number.
        size: (h, w) of the image, px.
        masks: May be empty.
        read: Gives the pixels, (h, w, 3) uint8 RGB; only called where there are patches to cut.
    """

    image_id: int | str
    size: Size
    masks: tuple[MaskWindow, ...]
    read: Callable[[], Image]


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """One image in one round.

    Attributes:
        image: With its masks as the round before left them.
        placed: The same masks with their patches.
        crops: The patches of all masks, in order, where they have been cut ahead of time.
    """

    image: ImageMasks
    placed: tuple[PlacedMask, ...]
    crops: Crops | None = None

    @property
    def patches(self) -> int:
        """Number of patches of all masks."""
        return sum(len(placed.boxes) for placed in self.placed)

    def cut(self, side: int) -> Iterator[Crops]:
        """The crops at ``side`` px, a mask at a time; the pixels are read if there is a patch."""
        if self.crops is not None:
            yield self.crops
        elif self.patches:
            pixels = self.image.read()
            yield from (cut_patches(pixels, placed, side) for placed in self.placed if len(placed.boxes))

    def cut_ahead(self, side: int) -> "PlacedImage":
        """The same with all of its crops in memory, as a loader prepares it for the network."""
        crops = list(self.cut(side))
        return replace(self, crops=_joined(crops)) if crops else self


@dataclass(frozen=True, slots=True)
class Method:
    """How masks are refined, apart from the network.

    Attributes:
        spec: How patches are placed.
        rounds: One or more, each from the masks of the one before.
        input_size: Side at which the network sees a patch, px: patches of `Round.object` are cut at it, those of
            `Round.boundary` at ``spec.size``, which the network resizes.
        flip: The network sees every patch a second time, mirrored, and the mean of both answers counts.
        threshold: In [0, 1). A pixel is foreground when its mean probability is above this.
    """

    spec: PatchSpec = field(default_factory=PatchSpec)
    rounds: tuple[Round, ...] = (Round.boundary,)
    input_size: int = 128
    flip: bool = False
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ValueError("there must be at least one round")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {self.threshold}")

    def place(self, image: ImageMasks, number: int = 0) -> PlacedImage:
        """Place the patches of all masks of an image for round ``number``."""
        kind = self.rounds[number]
        return PlacedImage(image, tuple(place_patches(mask, kind, self.spec, image.size) for mask in image.masks))

    def settles(self, placed: PlacedMask) -> bool:
        """Whether the patches of a mask show its boundary closely enough for `Round.boundary` to skip it."""
        return placed.kind is Round.object and 0 < placed.side <= self.spec.size

    def crop_side(self, number: int = 0) -> int:
        """Side of the crops of round ``number``, px."""
        return self.spec.size if self.rounds[number] is Round.boundary else self.input_size

    def paste(
        self, image: PlacedImage, probabilities: Probabilities, keep_probabilities: bool = False, last: bool = True
    ) -> ImageMasks:
        """The refined masks of an image, from the probabilities of its patches, in order; ``last`` as there."""
        masks, first = [], 0
        for placed in image.placed:
            part = probabilities[first : first + len(placed.boxes)]
            first += len(placed.boxes)
            settles = self.settles(placed)
            keep = keep_probabilities and (last or settles or placed.kind is Round.boundary)
            options = self.threshold, not self.spec.compat_2021, keep, last or settles, self.spec.resolved_taper
            pasted = paste_patches(placed, part, *options)
            masks.append(replace(pasted, settled=settles or pasted.settled))
        return replace(image.image, masks=tuple(masks))


def refine(
    first: Sequence[PlacedImage],
    network: Network,
    method: Method,
    patches_per_forward: int,
    keep_probabilities: bool = False,
    progress: Progress | None = None,
) -> Callable[[], Iterator[ImageMasks]]:
    """Refine the masks of some images.

    Args:
        first: The images, placed for the first round (`Method.place`).
        network: Sees patches of different masks and images at a time.
        method: How.
        patches_per_forward: The network sees at most so many patches at a time.
        keep_probabilities: Keep those of the last round with each mask.
        progress: Called after each pass of the network, which may still be under way where it runs beside this.

    Returns:
        What waits for the network's last answers and pastes them, image by image, in the order given. A caller may
        start the network on the next images before that, so that it never waits for pasting.
    """
    images = list(first)
    network = _seen_twice(network) if method.flip else network
    for number in range(1, len(method.rounds)):
        start = _run_network(images, network, method.crop_side(number - 1), patches_per_forward, progress)
        pasted = _paste(images, start, method, keep_probabilities, last=False)
        images = [method.place(image, number) for image in pasted]
    answers = _run_network(images, network, method.crop_side(len(method.rounds) - 1), patches_per_forward, progress)
    return lambda: _paste(images, answers, method, keep_probabilities)


def _seen_twice(network: Network) -> Network:
    """The mean of a network's answers on crops and on their mirror images."""

    def both(images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Callable[[], Probabilities]:
        straight = network(images, masks)
        mirrored = network(np.ascontiguousarray(images[:, :, ::-1]), np.ascontiguousarray(masks[:, :, ::-1]))
        return lambda: (straight() + mirrored()[..., ::-1]) / np.float32(2)

    return both


def _run_network(
    images: Sequence[PlacedImage], network: Network, side: int, most: int, progress: Progress | None
) -> list[Callable[[], Probabilities]]:
    total, done, answers = sum(image.patches for image in images), 0, []
    for crops in join_crops((crops for image in images for crops in image.cut(side)), most):
        answers.append(network(*crops))
        done += len(crops.masks)
        if progress is not None:
            progress(done, total)
    return answers


def _paste(
    images: Sequence[PlacedImage],
    answers: Sequence[Callable[[], Probabilities]],
    method: Method,
    keep: bool = False,
    last: bool = True,
) -> Iterator[ImageMasks]:
    none = np.zeros((0, 0, 0), np.float32)
    probabilities = np.concatenate([answer() for answer in answers]) if answers else none
    first = 0
    for image in images:
        yield method.paste(image, probabilities[first : first + image.patches], keep, last)
        first += image.patches


def join_crops(crops: Iterable[Crops], most: int) -> Iterator[Crops]:
    """The same crops, in the same order, ``most`` at a time; the last may be fewer."""
    waiting: list[Crops] = []
    count = 0
    for some in crops:
        waiting.append(some)
        count += len(some.masks)
        if count >= most:
            images, masks = _joined(waiting)
            whole = count - count % most
            for start in range(0, whole, most):
                yield Crops(images[start : start + most], masks[start : start + most])
            waiting, count = [Crops(images[whole:], masks[whole:])], count - whole
    if count:
        yield _joined(waiting)


def _joined(crops: Sequence[Crops]) -> Crops:
    return Crops(*map(np.concatenate, zip(*crops, strict=True)))
