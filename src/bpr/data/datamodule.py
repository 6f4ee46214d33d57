"""Lightning data modules: patches to train on, and images to refine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader, Subset

from bpr.data.augmentation import PatchAugmentation
from bpr.data.batches import PatchBatch, RefinementBatch, collate_refinement, collate_training
from bpr.data.datasets import PatchDataset, RefinementDataset
from bpr.data.index import PatchIndex, cached_index
from bpr.data.records import training_records
from bpr.data.sampling import PatchGroupSampler
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.patches.engine import Method
from bpr.structures import ImageRecord, PatchSpec
from bpr.synthetic.coarse_masks import CoarseOrigin, SimulationSpec
from bpr.synthetic.coarse_results import simulated_results


@dataclass(frozen=True, slots=True)
class Source:
    """One data set: its images, COCO or Cityscapes annotations, and segmenters' results on it (none, one or more)."""

    images: Path | str
    annotations: Path | str
    predictions: Sequence[Path | str] = ()


class PatchDataModule(pl.LightningDataModule):
    """Streams boundary patches of cached predictions, cut on the fly, with the matched ground truth as target.

    Args:
        train: Data sets to train on.
        val: Data sets to validate on.
        spec: How patches are placed.
        cache: Folder of the patch index.
        batch_size: Patches in a batch of one process; all training batches have this size.
        patches_per_image: Patches that are cut out of one decoded image; divides ``batch_size``.
        patches_per_instance: At most so many patches of an instance in an epoch; None takes all.
        val_patches_per_instance: The same for validation.
        min_iou: A prediction is matched to ground truth when their IoU is above this.
        augmentation: Of training patches.
        seed: Of order and augmentation. Together with the epoch it determines every batch, whatever the
            number of workers.
        num_workers: Worker processes of each loader.
        pin_memory: Copy batches to page-locked memory.
        repeat_epoch: Show the first epoch over and over, for debugging.
        coarse: Train on the cached predictions, on simulated coarse masks, or on both. Validation is on the
            cached predictions of a data set wherever it has some.
        simulated_per_object: Simulated masks of every annotated object, made once and cached.
        simulation: Which errors they have.

    Raises:
        ValueError: If ``patches_per_image`` does not divide ``batch_size``.
    """

    def __init__(  # noqa: PLR0913 (the settings of a training, each one value of the configuration)
        self,
        train: Sequence[Source],
        val: Sequence[Source],
        spec: PatchSpec,
        cache: Path | str,
        *,
        batch_size: int = 32,
        patches_per_image: int = 4,
        patches_per_instance: int | None = None,
        val_patches_per_instance: int | None = None,
        min_iou: float = 0.5,
        augmentation: PatchAugmentation | None = None,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        repeat_epoch: bool = False,
        coarse: CoarseOrigin | str = CoarseOrigin.cached,
        simulated_per_object: int = 1,
        simulation: SimulationSpec | None = None,
    ) -> None:
        super().__init__()
        self._coarse = CoarseOrigin(coarse)
        self._simulated_per_object, self._simulation = simulated_per_object, simulation or SimulationSpec()
        self._repeat_epoch = repeat_epoch
        if batch_size % patches_per_image:
            raise ValueError(
                f"data.batch_size ({batch_size}) must be a multiple of data.patches_per_image ({patches_per_image})"
            )
        self._sources = {"train": train, "val": val}
        self._spec, self._cache, self._min_iou = spec, Path(cache), min_iou
        self._group, self._groups_per_batch = patches_per_image, batch_size // patches_per_image
        self._patches_per_instance = {"train": patches_per_instance, "val": val_patches_per_instance}
        self._augmentation, self._seed = augmentation, seed
        self._loader_options = {"num_workers": num_workers, "pin_memory": pin_memory}
        self._sets: dict[str, tuple[list[ImageRecord], PatchIndex]] = {}
        self._sampler: PatchGroupSampler | None = None
        self._batches_seen = 0

    def prepare_data(self) -> None:
        """Build the index once, before the other processes start."""
        self.setup()

    def setup(self, stage: str = "fit") -> None:
        """Read the files of both splits and their index."""
        for split, sources in self._sources.items():
            if split in self._sets or not sources:
                continue
            records = [record for source in sources for record in self._records(source, split)]
            index, path = cached_index(records, self._spec, self._min_iou, self._cache)
            rank_zero_info(
                f"{split}: {len(records)} images, {len(index.image)} matched and {index.unmatched[0]} unmatched "
                f"predictions, {len(index)} patches ({path})"
            )
            self._sets[split] = records, index

    def train_dataloader(self) -> DataLoader[PatchBatch]:
        """Batches of constant shape, shuffled across images; goes on where a checkpoint stopped."""
        sampler = self._make_sampler("train", self._seed, shuffle=True)
        if len(sampler) < self._groups_per_batch:
            raise ValueError(
                f"{len(sampler)} groups of {self._group} patches do not fill one batch of "
                f"{self._groups_per_batch * self._group}: lower data.batch_size or add images"
            )
        sampler.skip_once(self._batches_seen * self._groups_per_batch)
        self._batches_seen = 0
        records, index = self._sets["train"]
        return self._loader(PatchDataset(records, index, self._spec.size, self._augmentation), sampler, True)

    def val_dataloader(self) -> DataLoader[PatchBatch] | list[Any]:
        """The same patches in every epoch, not augmented; no loader where there is nothing to validate on."""
        if "val" not in self._sets:
            return []
        records, index = self._sets["val"]
        return self._loader(
            PatchDataset(records, index, self._spec.size), self._make_sampler("val", 0, shuffle=False), False
        )

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the current epoch were trained on."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"batches_seen": 0 if progress.is_last_batch else progress.current.ready}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training loader go on after the batches that were seen."""
        self._batches_seen = state_dict["batches_seen"]

    def _records(self, source: Source, split: str) -> list[ImageRecord]:
        """Read and join the files of a data set, and simulate what is to be simulated."""
        annotated = read_annotations(source.annotations)
        origin = self._coarse
        if split == "val":
            origin = CoarseOrigin.cached if source.predictions else CoarseOrigin.simulated
        if origin is CoarseOrigin.cached and not source.predictions:
            raise FormatError(
                annotated.path, None, "has no `predictions` beside it; give a results file, or data.coarse=simulated"
            )
        files = [] if origin is CoarseOrigin.simulated else [Path(path) for path in source.predictions]
        if origin is not CoarseOrigin.cached:
            files.append(
                simulated_results(annotated, self._cache, self._simulated_per_object, self._simulation, self._seed)
            )
        return training_records(Path(source.images), annotated, files)

    def _make_sampler(self, split: str, seed: int, shuffle: bool) -> PatchGroupSampler:
        trainer = self.trainer
        return PatchGroupSampler(
            self._sets[split][1],
            self._group,
            self._patches_per_instance[split],
            seed,
            shuffle,
            num_replicas=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            repeat=self._repeat_epoch,
        )

    def _loader(self, dataset: PatchDataset, sampler: PatchGroupSampler, drop_last: bool) -> DataLoader[PatchBatch]:
        return DataLoader(
            dataset,
            batch_size=self._groups_per_batch,
            sampler=sampler,
            collate_fn=collate_training,
            drop_last=drop_last,
            persistent_workers=drop_last and self._loader_options["num_workers"] > 0,
            **self._loader_options,  # type: ignore[arg-type]
        )


class RefinementDataModule(pl.LightningDataModule):
    """Feeds images with predictions to `Trainer.predict`, of a trainer with ``use_distributed_sampler=False``.

    Args:
        records: Images with predictions.
        method: How they are refined.
        images_per_batch: Images whose patches share the passes of the network.
        num_workers: Processes that read, place and cut ahead of the network.
    """

    def __init__(
        self, records: Sequence[ImageRecord], method: Method, images_per_batch: int = 4, num_workers: int = 0
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer images than processes
        self._dataset = RefinementDataset(records, method)
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
