"""What to train on and how an epoch is drawn from it, as checked values."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from bpr.structures import Choice, Round, SettingError
from bpr.synthetic.coarse_masks import SimulationSpec
from bpr.synthetic.demo import make_demo


class CoarseOrigin(Choice):
    """Where the coarse masks of a training come from: a segmenter, `simulate_coarse`, or both."""

    cached = "cached"
    simulated = "simulated"
    both = "both"


@dataclass(frozen=True, slots=True)
class Source:
    """One data set.

    Attributes:
        images: Folder of its images.
        annotations: COCO file or Cityscapes folder.
        predictions: Results of segmenters on it: none, one or more.
        weight: Its share of the patches of an epoch, relative to the weights of the other sources; > 0. None for all of
            them: every image is shown once in an epoch.
        simulated_per_object: Simulated masks of each of its objects; None takes that of `TrainingData`.

    Raises:
        SettingError: If ``weight`` is not above 0, or ``simulated_per_object`` is below 1.
    """

    images: Path | str
    annotations: Path | str
    predictions: Sequence[Path | str] = ()
    weight: float | None = None
    simulated_per_object: int | None = None

    def __post_init__(self) -> None:
        if self.simulated_per_object is not None and self.simulated_per_object < 1:
            raise SettingError(
                f"simulated_per_object of {self.annotations} must be at least 1, got {self.simulated_per_object}; "
                "for no simulated masks, data.coarse=cached"
            )
        if self.weight is not None and not 0 < self.weight < float("inf"):
            raise SettingError(f"the weight of {self.annotations} must be above 0, got {self.weight}; or leave it out")

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """A source, or one of this content.

        Raises:
            SettingError: If a key is unknown or missing.
        """
        if not isinstance(given, Mapping):
            return given
        known = [its.name for its in fields(cls)]
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise SettingError(f"a source of data.train or data.val has no {key}: {meant}")
        for key in ("images", "annotations"):
            if given.get(key) is None:
                raise SettingError(f"a source of data.train or data.val needs {key}, got {dict(given)}")
        files = given.get("predictions") or ()
        return cls(**{**given, "predictions": [files] if isinstance(files, str | Path) else files})


def demo_source(root: Path | str, split: Literal["train", "val"], weight: float | None = None) -> Source:
    """A part of the embedded demo, made in ``root`` now unless it is there."""
    made = make_demo(root, split)
    return Source(made.images, made.annotations, [made.predictions], weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The settings of `bpr.data.datamodule.PatchDataModule`.

    Attributes:
        train: Data sets to train on.
        val: Data sets to validate on; may be none.
        cache: Folder of the patch index and of simulated masks.
        batch_size: Patches in a batch of one process; all training batches have this size.
        patches_per_image: Patches that are cut out of one decoded image; divides ``batch_size``.
        patches_per_instance: Maximum number of patches of an instance in an epoch, of each of ``rounds``; None takes
            all.
        val_patches_per_instance: The same for validation.
        rounds: The kinds of patches to train on, as `bpr.patches.engine` places them in its rounds.
        crop_size: Side at which patches are cut, px: others are resized to it. None: ``patch.size``, of which all
            patches are where ``rounds`` is ``boundary`` alone.
        min_iou: A prediction is matched to ground truth when their IoU is above this; in [0, 1).
        seed: Of order, augmentation and simulation. Together with the epoch it determines every batch, whatever the
            number of workers.
        num_workers: Worker processes of each loader.
        repeat_epoch: Show the first epoch over and over, for debugging.
        coarse: Train on the cached predictions, on simulated coarse masks, or on both. Validation is on the cached
            predictions of a data set wherever it has some.
        simulated_per_object: Simulated masks of every annotated object, made once and cached.
        simulation: Which errors they have.

    Raises:
        SettingError: If a value is out of its range, ``patches_per_image`` does not divide ``batch_size``, or some but
            not all sources have a weight.
    """

    train: Sequence[Source]
    val: Sequence[Source] = ()
    cache: Path
    batch_size: int = 32
    patches_per_image: int = 4
    patches_per_instance: int | None = None
    val_patches_per_instance: int | None = 4
    rounds: Sequence[Round] = (Round.boundary,)
    crop_size: int | None = None
    min_iou: float = 0.5
    seed: int = 0
    num_workers: int = 2
    repeat_epoch: bool = False
    coarse: CoarseOrigin = CoarseOrigin.cached
    simulated_per_object: int = 1
    simulation: SimulationSpec = field(default_factory=SimulationSpec)

    def __post_init__(self) -> None:
        for split in ("train", "val"):
            object.__setattr__(self, split, tuple(Source.of(source) for source in getattr(self, split)))
        object.__setattr__(self, "coarse", CoarseOrigin(self.coarse))  # its name will do
        object.__setattr__(self, "cache", Path(self.cache))
        self._check_rounds()
        self._check_ranges()
        if self.batch_size % self.patches_per_image:
            raise SettingError(
                f"data.batch_size ({self.batch_size}) must be a multiple of data.patches_per_image "
                f"({self.patches_per_image})"
            )
        if not self.train:
            raise SettingError("data.train is empty: name at least one source, or data=demo")
        if len({source.weight is None for source in self.train}) > 1:
            raise SettingError("some sources of data.train have a weight and some have none: give all of them one")
        if any(source.weight is not None for source in self.val):
            raise SettingError("a source of data.val has a weight, but validation shows all of them: leave it out")

    def _check_rounds(self) -> None:
        object.__setattr__(self, "rounds", tuple(Round(name) for name in self.rounds))
        if not self.rounds or len(set(self.rounds)) < len(self.rounds):
            raise SettingError(f"data.rounds must name a round, and none twice, got {list(self.rounds)}")
        if self.rounds != (Round.boundary,) and self.crop_size is None:
            raise SettingError(
                f"data.rounds=[{','.join(self.rounds)}] needs data.crop_size, the side (px) to which patches of all "
                "sides are brought: that of the network's input, such as data.crop_size=128"
            )

    def _check_ranges(self) -> None:
        lowest = {"batch_size": 1, "patches_per_image": 1, "patches_per_instance": 1, "val_patches_per_instance": 1}
        lowest |= {"seed": 0, "num_workers": 0, "simulated_per_object": 1, "crop_size": 2}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(f"data.{name} must be at least {least}, got {value}")
        if not 0 <= self.min_iou < 1:
            raise SettingError(f"data.min_iou must be in [0, 1), got {self.min_iou}")
