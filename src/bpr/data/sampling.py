"""Which patches an epoch shows, and in which order: a function of (seed, epoch) alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from bpr.data.batches import PatchGroup
from bpr.data.index import PatchIndex


class PatchGroupSampler(DistributedSampler[PatchGroup]):
    """Requests groups of patches of one image, so that an image is decoded once for the whole group.

    Each epoch draws up to ``patches_per_instance`` patches of every instance (a large object has ten times the
    patches of a small one and would else drown it), joins those of an image into groups of ``group_size``,
    fills its last group up with patches of the same image, and shuffles the groups of all images. It is a
    ``DistributedSampler`` so that Lightning leaves the distribution over processes to it.

    Args:
        index: Patches to draw from.
        group_size: Patches in a group, >= 1.
        patches_per_instance: At most so many of an instance in an epoch; None takes all.
        seed: Of the order and of the augmentation.
        shuffle: False gives the same draw in the order of the index in every epoch, and keeps the last
            groups that do not fill all processes; True drops them.
        num_replicas: Processes that share an epoch.
        rank: This process.
        repeat: Show the first epoch over and over.

    Raises:
        ValueError: If there is no group for this process.
    """

    def __init__(
        self,
        index: PatchIndex,
        group_size: int,
        patches_per_instance: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        num_replicas: int = 1,
        rank: int = 0,
        repeat: bool = False,
    ) -> None:
        self._index = index
        self._group_size = group_size
        self._patches_per_instance = patches_per_instance
        self._skip = 0
        self._repeat = repeat or not shuffle
        groups = len(self._draw(0))
        super().__init__(range(groups), num_replicas, rank, shuffle, seed, drop_last=shuffle)  # type: ignore[arg-type]
        self._length = groups // num_replicas if shuffle else len(range(rank, groups, num_replicas))
        if self._length == 0:
            raise ValueError(
                f"{len(index)} patches of {len(index.image)} matched instances are too few for {num_replicas} "
                "processes: check that predictions and annotations are of the same images and classes"
            )

    def __len__(self) -> int:
        return self._length

    def skip_once(self, groups: int) -> None:
        """Leave out the first ``groups`` of the next epoch: they were seen before the training was interrupted."""
        self._skip = groups

    def __iter__(self) -> Iterator[PatchGroup]:
        epoch = 0 if self._repeat else self.epoch
        groups = self._draw(epoch)
        order = self._generator(epoch, 1).permutation(len(groups)) if self.shuffle else np.arange(len(groups))
        mine = order[self.rank :: self.num_replicas][: self._length]
        skip, self._skip = self._skip, 0
        for number in mine[skip:].tolist():
            yield PatchGroup((self.seed, epoch, number), groups[number])

    def _draw(self, epoch: int) -> list[NDArray[np.int64]]:
        """Groups in the order of the images; their number does not depend on the epoch."""
        generator = self._generator(epoch, 0)
        keys = generator.random(len(self._index))
        by_instance = np.lexsort((keys, self._index.instance))
        if self._patches_per_instance is not None:
            first = np.searchsorted(self._index.instance, self._index.instance)  # row of the instance's first patch
            nth = np.arange(len(by_instance)) - first
            by_instance = by_instance[nth < self._patches_per_instance]
        image = self._index.image[self._index.instance[by_instance]]
        shuffled = np.lexsort((keys[by_instance], image))
        starts = np.flatnonzero(np.diff(image[shuffled], prepend=-1))
        groups = []
        for patches in np.split(by_instance[shuffled], starts[1:]):
            if len(patches):
                count = -(-len(patches) // self._group_size)
                groups.extend(np.split(np.resize(patches, count * self._group_size), count))
        return groups

    def _generator(self, epoch: int, purpose: int) -> np.random.Generator:
        seed = getattr(self, "seed", 0)
        return np.random.default_rng((seed, epoch, purpose))
