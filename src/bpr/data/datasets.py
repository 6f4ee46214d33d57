"""Map-style datasets: training patches by request, and the masks of an image to refine."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from bpr import rle
from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import BadImage, PatchBatch, PatchGroup, to_tensor
from bpr.data.images import read_image
from bpr.data.index import PatchIndex
from bpr.formats.errors import Reason
from bpr.formats.faults import Faults
from bpr.patches.cutting import crop, resize, resize_masks
from bpr.patches.engine import ImageMasks, Method, PlacedImage
from bpr.patches.windows import EMPTY, LOW_SCORE, MaskWindow
from bpr.structures import Boxes, ImageRecord, Mask, OnError, Rle, Size


class PatchDataset(Dataset[PatchBatch]):
    """Patches of one image at a time, cut out of the image and of both masks when they are asked for.

    Args:
        records: Images with predictions and ground truth.
        index: Patches in them.
        size: Side to which all patches are brought, px.
        augmentation: Applied to each patch, if given.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        index: PatchIndex,
        size: int,
        augmentation: PatchAugmentation | None = None,
    ) -> None:
        self._records, self._index, self._size, self._augmentation = records, index, size, augmentation

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, group: PatchGroup) -> PatchBatch:
        """Cut the patches of ``group``, all of one image; augmentation depends on ``group.seed`` alone."""
        instances = self._index.instance[group.patches]
        record = self._records[self._index.image[instances[0]]]
        corners = self._index.corners[group.patches].astype(np.int64)
        boxes = np.concatenate([corners, corners + self._index.side[instances, None]], axis=1)
        pixels = read_image(record.path, record.size, record.exif)
        images = np.concatenate([resize(crop(pixels, box[None]), self._size) for box in boxes])
        masks = np.stack([self._masks(record, i, box) for i, box in zip(instances, boxes, strict=True)])
        if self._augmentation is not None:
            self._augmentation.seed(group.seed)
            for n in range(len(images)):
                images[n], masks[n] = self._augmentation(images[n], masks[n])
        both = torch.from_numpy(masks)
        return PatchBatch(to_tensor(images), both[:, 0], both[:, 1])

    def _masks(self, record: ImageRecord, instance: int, box: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(2, s, s) bool: the coarse and the true mask in a box."""
        coarse = record.instances[self._index.coarse[instance]].rle
        truth = record.truths[self._index.truth[instance]].rle
        return resize_masks(np.stack([_crop_rle(code, box, record.size) for code in (coarse, truth)]), self._size)


class RefinementDataset(Dataset[PlacedImage | BadImage]):
    """All masks of one image at a time, with their patches of the first round; needs no ground truth.

    Args:
        records: Images with predictions.
        method: How they are refined.
        on_error: What becomes of an image that cannot be decoded; see `bpr.formats.faults.Faults`.
        min_score: As of `image_masks`.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        method: Method,
        on_error: OnError | None = None,
        min_score: float = 0.0,
    ) -> None:
        self._records, self._method, self._on_error, self._min_score = records, method, on_error, min_score

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> PlacedImage | BadImage:
        """Place and cut the patches of image ``number``; it is decoded only if there are any, and once."""
        record, faults = self._records[number], Faults(self._on_error)
        placed = faults.attempt(partial(self._place, record), Reason.image, masks=len(record.instances))
        return BadImage(record.image_id, faults.found[0]) if placed is None else placed

    def _place(self, record: ImageRecord) -> PlacedImage:
        image = image_masks(record, self._min_score)
        placed, later = self._method.place(image), range(1, len(self._method.rounds))
        if later and (placed.patches or any(self._method.place(image, number).patches for number in later)):
            pixels = image.read()  # the later rounds need them too
            placed = replace(placed, image=replace(image, read=partial(np.asarray, pixels)))
        return placed.cut_ahead(self._method.crop_side())


def image_masks(record: ImageRecord, min_score: float = 0.0) -> ImageMasks:
    """The predicted masks of an image, each decoded in its own box; those with a score below ``min_score`` are not.

    They stand there without their mask, to be left as they came.
    """
    windows = []
    for instance in record.instances:
        if instance.score < min_score:
            windows.append(MaskWindow(instance.position, np.zeros((0, 0), np.bool_), EMPTY, reason=LOW_SCORE))
        else:
            box = rle.bounding_box(instance.rle)
            windows.append(MaskWindow(instance.position, rle.decode(instance.rle, box), box))
    read = partial(read_image, record.path, record.size, record.exif)
    return ImageMasks(record.image_id, record.size, tuple(windows), read)


def _crop_rle(code: Rle, box: NDArray[np.int64], size: Size) -> NDArray[np.bool_]:
    """(s, s) bool: a box of an encoded mask, whose outermost pixels are repeated outside of the image."""
    height, width = size
    x1, y1 = (int(v) for v in np.maximum(box[:2], 0))
    x2, y2 = (int(v) for v in np.minimum(box[2:], (width, height)))
    local: Boxes = (box - (x1, y1, x1, y1))[None]
    patch: Mask = crop(rle.decode(code, (x1, y1, x2, y2)), local)[0]
    return patch
