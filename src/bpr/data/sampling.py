"""Which patches an epoch shows, and in which order: a function of (seed, epoch) alone."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from bpr.data.batches import PatchGroup
from bpr.data.index import PatchIndex
from bpr.structures import SettingError

_GOLDEN: Final = (math.sqrt(5) - 1) / 2


class SourceShares(NamedTuple):
    """How much of an epoch shows which data set.

    Attributes:
        source: (m,) int64, the source of each row of the index's instance table; every source has patches.
        share: (k,) float64 > 0, of each source; their sum is 1.
    """

    source: NDArray[np.int64]
    share: NDArray[np.float64]


class PatchGroupSampler(DistributedSampler[PatchGroup]):
    """Requests groups of patches of one image, so that an image is decoded once for the whole group.

    Each epoch draws up to ``patches_per_instance`` patches of every instance (a large object has ten times the
    patches of a small one and would otherwise outweigh it), joins those of an image into groups of ``group_size``,
    fills its last group up with patches of the same image, and shuffles the groups of all images. It shares
    them out to the processes itself.

    With ``shares``, an epoch is as long as without, but each source has its share of the groups: of a large one, an
    epoch shows a part, another one each time; a small one comes again and again, each time with another draw. What
    rounding takes from a source in one epoch, another gives back: over many, each has its share but for a few groups.

    Args:
        index: Patches to draw from.
        group_size: Patches in a group, >= 1.
        patches_per_instance: Maximum number of patches of an instance in an epoch; None takes all.
        seed: Of the order and of the augmentation.
        shuffle: False gives the same draw in the order of the index in every epoch, and keeps the last
            groups that do not fill all processes; True drops them.
        num_replicas: Processes that share an epoch.
        rank: This process.
        repeat: Show the first epoch over and over.
        shares: Of the sources; None shows every image once.

    Raises:
        SettingError: If there is no group for this process.
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
        shares: SourceShares | None = None,
    ) -> None:
        self._index, self._group_size, self._patches_per_instance = index, group_size, patches_per_instance
        self._skip, self._repeat = 0, repeat or not shuffle
        groups = self._count()
        super().__init__(range(groups), num_replicas, rank, shuffle, seed, drop_last=shuffle)  # type: ignore[arg-type]
        self._length = groups // num_replicas if shuffle else len(range(rank, groups, num_replicas))
        if self._length == 0:
            raise SettingError(
                f"{len(index)} patches of {len(index.image)} matched instances are too few for {num_replicas} "
                "processes: check that predictions and annotations are of the same images and classes"
            )
        self._shares = shares

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

    def _count(self) -> int:
        """How many groups show every image once; the same in every epoch."""
        shown = np.bincount(self._index.instance, minlength=len(self._index.image))
        if self._patches_per_instance is not None:
            shown = np.minimum(shown, self._patches_per_instance)
        of_image = np.bincount(self._index.image, shown)
        return int(np.ceil(of_image / self._group_size).sum())

    def _share_out(self, shares: SourceShares, epoch: int) -> list[tuple[NDArray[np.int64], int]]:
        """The patches of each source, and how many groups it gets in an epoch.

        What is left of whole groups goes round by systematic sampling (Madow, 1949), whose start is another one in each
        epoch, spread evenly by the golden ratio.
        """
        whole, part = np.divmod(shares.share * self._count(), 1)
        ends = np.floor(np.cumsum(part).round(9) + (0.5 + epoch * _GOLDEN) % 1)
        counts = whole + np.diff(ends, prepend=0)
        source = shares.source[self._index.instance]
        return [(np.flatnonzero(source == n), int(count)) for n, count in enumerate(counts)]

    def _draw(self, epoch: int) -> list[NDArray[np.int64]]:
        """All groups of an epoch, image by image or source by source; their number does not depend on the epoch."""
        if self._shares is None:
            return self._groups(np.arange(len(self._index)), self._generator(epoch, 0))
        drawn: list[NDArray[np.int64]] = []
        for number, (patches, wanted) in enumerate(self._share_out(self._shares, epoch)):
            generator, end = self._generator(epoch, 2, number), len(drawn) + wanted
            while len(drawn) < end:
                once = self._groups(patches, generator)
                drawn += [once[i] for i in generator.permutation(len(once))[: end - len(drawn)]]
        return drawn

    def _groups(self, patches: NDArray[np.int64], generator: np.random.Generator) -> list[NDArray[np.int64]]:
        """Groups of some of each instance's ``patches`` (ascending), in the order of the images."""
        instance = self._index.instance[patches]
        keys = generator.random(len(patches))
        by_instance = np.lexsort((keys, instance))
        if self._patches_per_instance is not None:
            nth = np.arange(len(patches)) - np.searchsorted(instance, instance)  # within its instance
            by_instance = by_instance[nth < self._patches_per_instance]
        image = self._index.image[instance[by_instance]]
        shuffled = np.lexsort((keys[by_instance], image))
        starts = np.flatnonzero(np.diff(image[shuffled], prepend=-1))
        groups: list[NDArray[np.int64]] = []
        for of_image in np.split(patches[by_instance[shuffled]], starts[1:]):
            groups += [*np.resize(of_image, (-(-len(of_image) // self._group_size), self._group_size))]
        return groups

    def _generator(self, epoch: int, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, *purpose))
