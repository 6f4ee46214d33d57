"""Map-style datasets: training patches by request, and all patches of an image to refine."""

from collections import Counter
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from bpr import rle
from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import CoarseWindow, ImagePatches, ImageWindows, PatchBatch, PatchGroup, to_tensor
from bpr.data.images import read_image
from bpr.data.index import PatchIndex
from bpr.patches.cutting import crop, propose_boxes, working_window
from bpr.structures import Boxes, CoarseInstance, ImageRecord, Mask, PatchSpec, Rle, Size


class PatchDataset(Dataset[PatchBatch]):
    """Patches of one image at a time, cut out of the image and of both masks when they are asked for.

    Args:
        records: Images with predictions and ground truth.
        index: Patches in them.
        size: Side of a patch, px.
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
        boxes = np.concatenate([corners, corners + self._size], axis=1)
        images = crop(read_image(record.path, record.size, record.exif), boxes)
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
        return np.stack([_crop_rle(code, box, record.size) for code in (coarse, truth)])


class RefinementDataset(Dataset[ImagePatches]):
    """All boundary patches of one image at a time; needs no ground truth.

    Args:
        records: Images with predictions.
        spec: How patches are placed.
    """

    def __init__(self, records: Sequence[ImageRecord], spec: PatchSpec) -> None:
        self._records, self._spec = records, spec

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> ImagePatches:
        """Propose and cut all patches of image ``number``; it is only decoded if there are any."""
        begin = perf_counter()
        record, side = self._records[number], self._spec.size
        start = perf_counter()
        windows, skipped = [], Counter[str]()
        for instance in record.instances:
            window = self._propose(instance, record.size)
            if isinstance(window, str):
                skipped[window] += 1
            else:
                windows.append(window)
        proposed = perf_counter()
        seconds = {"load": start - begin, "propose": proposed - start}
        if not windows:
            layout = ImageWindows(record.image_id, record.size, (), dict(skipped), seconds)
            return ImagePatches(layout, np.zeros((0, side, side, 3), np.uint8), np.zeros((0, side, side), np.bool_))
        pixels = read_image(record.path, record.size, record.exif)
        read = perf_counter()
        images = crop(pixels, np.concatenate([window.boxes for window in windows]))
        coarse = np.concatenate([crop(w.mask, w.boxes - np.tile(w.window[:2], 2)) for w in windows])
        seconds |= {"read": read - proposed, "crop": perf_counter() - read}
        return ImagePatches(
            ImageWindows(record.image_id, record.size, tuple(windows), dict(skipped), seconds), images, coarse
        )

    def _propose(self, instance: CoarseInstance, size: Size) -> CoarseWindow | str:
        """The patches of an instance, or why it has none."""
        bounding_box = rle.bounding_box(instance.rle)
        if bounding_box == (0, 0, 0, 0):
            return "empty mask"
        window = working_window(bounding_box, size, self._spec.size)
        mask = rle.decode(instance.rle, window)
        boxes = propose_boxes(mask, self._spec, window[:2], size)
        if len(boxes) == 0:
            too_small = self._spec.compat_2021 and min(size) <= self._spec.size
            return "image not larger than a patch (compat_2021)" if too_small else "no boundary inside the image"
        return CoarseWindow(instance.position, mask, window, boxes)


def _crop_rle(code: Rle, box: NDArray[np.int64], size: Size) -> NDArray[np.bool_]:
    """(s, s) bool: a box of an encoded mask, whose outermost pixels are repeated outside of the image."""
    height, width = size
    x1, y1 = (int(v) for v in np.maximum(box[:2], 0))
    x2, y2 = (int(v) for v in np.minimum(box[2:], (width, height)))
    local: Boxes = (box - (x1, y1, x1, y1))[None]
    patch: Mask = crop(rle.decode(code, (x1, y1, x2, y2)), local)[0]
    return patch
