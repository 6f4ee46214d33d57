"""Lightning data modules: patches to train on, and images to refine."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader, Subset

from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import PatchBatch, RefinementBatch, collate_refinement, collate_training
from bpr.data.datasets import PatchDataset, RefinementDataset
from bpr.data.image_records import training_records
from bpr.data.index import PatchIndex, cached_index
from bpr.data.sampling import PatchGroupSampler, SourceShares
from bpr.data.settings import CoarseOrigin, Source, TrainingData
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.patches.engine import Method
from bpr.structures import ImageRecord, OnError, PatchSpec, SettingError
from bpr.synthetic.coarse_results import simulated_results

# Lightning cannot know that this data module resumes in the middle of an epoch, batch by batch.
warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")


@dataclass(frozen=True, slots=True)
class _PatchSet:
    """What is known of a split after its files were read."""

    records: list[ImageRecord]
    index: PatchIndex
    shares: SourceShares | None


class PatchDataModule(pl.LightningDataModule):
    """Streams boundary patches of coarse masks, cut on the fly, with the matched ground truth as target.

    Args:
        data: What to train on, and how it is drawn.
        spec: How patches are placed.
        augmentation: Of training patches.

    Raises:
        SettingError: If the augmentation changes the size of patches.
    """

    def __init__(self, data: TrainingData, spec: PatchSpec, augmentation: PatchAugmentation | None = None) -> None:
        super().__init__()
        if augmentation is not None:
            augmentation.check_side(data.crop_size or spec.size)
        self._data, self._spec, self._augmentation = data, spec, augmentation
        self._groups_per_batch = data.batch_size // data.patches_per_image
        self._sets: dict[str, _PatchSet] = {}
        self._epoch = self._batches_seen = 0

    def prepare_data(self) -> None:
        """Build the index once, before the other processes start."""
        self.setup()

    def setup(self, stage: str = "fit") -> None:
        """Read the files of both splits and their index."""
        for split, sources in (("train", self._data.train), ("val", self._data.val)):
            if split in self._sets or not sources:
                continue
            by_source = [self._records(source, split) for source in sources]
            records = [record for found in by_source for record in found]
            index, path = cached_index(records, self._spec, self._data.min_iou, self._data.cache, self._data.rounds)
            matched = len(index.image) // len(self._data.rounds)
            rank_zero_info(
                f"{split}: {len(records)} images, {matched} matched and {index.unmatched[0]} unmatched predictions, "
                f"{len(index)} patches ({path})"
            )
            self._sets[split] = _PatchSet(records, index, self._shares(sources, by_source, index))

    def train_dataloader(self) -> DataLoader[PatchBatch]:
        """Batches of constant shape, shuffled across images; resumes where a checkpoint stopped."""
        data = self._data
        sampler = self._sampler("train", data.patches_per_instance, data.seed, shuffle=True)
        if len(sampler) < self._groups_per_batch:
            raise SettingError(
                f"{len(sampler)} groups of {data.patches_per_image} patches do not fill one batch of "
                f"{data.batch_size}: lower data.batch_size or add images"
            )
        sampler.set_epoch(self._epoch)  # workers draw before Lightning, resuming, sets it
        sampler.skip_once(self._batches_seen * self._groups_per_batch)
        self._batches_seen = 0
        return self._loader("train", sampler, self._augmentation)

    def val_dataloader(self) -> DataLoader[PatchBatch] | list[Any]:
        """The same patches in every epoch, not augmented; no loader where there is nothing to validate on."""
        if "val" not in self._sets:
            return []
        return self._loader("val", self._sampler("val", self._data.val_patches_per_instance, 0, shuffle=False))

    def state_dict(self) -> dict[str, Any]:
        """Which epoch goes on, and how many batches of it were trained on."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        epoch = self.trainer.current_epoch + progress.is_last_batch
        return {"batches_seen": 0 if progress.is_last_batch else progress.current.ready, "epoch": epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training loader skip the batches that were seen."""
        self._batches_seen, self._epoch = state_dict["batches_seen"], state_dict["epoch"]

    def _records(self, source: Source, split: str) -> list[ImageRecord]:
        """Read and join the files of a data set, and simulate what is to be simulated."""
        data, annotated = self._data, read_annotations(source.annotations)
        origin = data.coarse
        if split == "val":
            origin = CoarseOrigin.cached if source.predictions else CoarseOrigin.simulated
        if origin is CoarseOrigin.cached and not source.predictions:
            raise FormatError(
                annotated.path, None, "has no `predictions` beside it; give a results file, or data.coarse=simulated"
            )
        files = [] if origin is CoarseOrigin.simulated else [Path(path) for path in source.predictions]
        if origin is not CoarseOrigin.cached:
            count = source.simulated_per_object or data.simulated_per_object
            files.append(simulated_results(annotated, data.cache, count, data.simulation, data.seed))
        return training_records(Path(source.images), annotated, files)

    @staticmethod
    def _shares(
        sources: Sequence[Source], records: Sequence[Sequence[ImageRecord]], index: PatchIndex
    ) -> SourceShares | None:
        """What each source is to have of an epoch; None where they have no weights."""
        weights = [source.weight for source in sources if source.weight is not None]
        if not weights:
            return None
        of_record = np.repeat(np.arange(len(sources)), [len(found) for found in records])
        of_instance = of_record[index.image]
        filled = set(of_instance[index.instance].tolist())
        for number, source in enumerate(sources):
            if number not in filled:
                raise FormatError(Path(source.annotations), None, "has a weight, but no prediction matches its objects")
        return SourceShares(of_instance, np.array(weights) / sum(weights))

    def _sampler(self, split: str, patches_per_instance: int | None, seed: int, shuffle: bool) -> PatchGroupSampler:
        trainer = self.trainer
        return PatchGroupSampler(
            self._sets[split].index,
            self._data.patches_per_image,
            patches_per_instance,
            seed,
            shuffle,
            num_replicas=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            repeat=self._data.repeat_epoch,
            shares=self._sets[split].shares,
        )

    def _loader(
        self, split: str, sampler: PatchGroupSampler, augmentation: PatchAugmentation | None = None
    ) -> DataLoader[PatchBatch]:
        found = self._sets[split]
        return DataLoader(
            PatchDataset(found.records, found.index, self._data.crop_size or self._spec.size, augmentation),
            batch_size=self._groups_per_batch,
            sampler=sampler,
            collate_fn=collate_training,
            drop_last=split == "train",
            num_workers=self._data.num_workers,
            persistent_workers=split == "train" and self._data.num_workers > 0,
            pin_memory=_feeds_a_gpu(self),
        )


class RefinementDataModule(pl.LightningDataModule):
    """Feeds images with predictions to `Trainer.predict`, of a trainer with ``use_distributed_sampler=False``.

    Args:
        records: Images with predictions.
        method: How they are refined.
        images_per_batch: Images whose patches share the passes of the network.
        num_workers: Processes that read, place and cut ahead of the network.
        on_error: What becomes of an image that cannot be decoded.
        min_score: Predictions with a lower score are left as they came.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        method: Method,
        images_per_batch: int = 4,
        num_workers: int = 0,
        on_error: OnError | None = None,
        min_score: float = 0.0,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than processes
        self._dataset = RefinementDataset(records, method, on_error, min_score)
        self._images_per_batch, self._num_workers = images_per_batch, num_workers

    def predict_dataloader(self) -> DataLoader[RefinementBatch]:
        """Every image once in all processes together; Lightning's own sampler wants one for each of them."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return DataLoader(
            Subset(self._dataset, range(rank, len(self._dataset), world)),  # type: ignore[arg-type]
            batch_size=self._images_per_batch,
            num_workers=self._num_workers,
            collate_fn=collate_refinement,
        )


def _feeds_a_gpu(module: pl.LightningDataModule) -> bool:
    """Whether batches go to a CUDA device, to which they are copied faster from page-locked memory."""
    return module.trainer is not None and module.trainer.strategy.root_device.type == "cuda"
