"""Hydra structured schemas: a typo or a value of the wrong type fails when the configuration is composed."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from bpr.structures import Backend, ExifUse, PatchSpec, Round
from bpr.synthetic.coarse_masks import CoarseOrigin, SimulationSpec


def _schema(name: str, checked: type, target: str | None = None) -> Any:
    """The fields of a frozen dataclass as a dataclass that OmegaConf does not lock against overrides."""
    copied: list[Any] = [(f.name, f.type, field(default=f.default)) for f in fields(checked)]
    built: list[Any] = [("_target_", str, field(default=target))] if target else []
    return make_dataclass(name, built + copied)


PatchConf = _schema("PatchConf", PatchSpec)
SimulationConf = _schema("SimulationConf", SimulationSpec, "bpr.synthetic.coarse_masks.SimulationSpec")


@dataclass
class SourceConf:
    """One data set, see `bpr.data.datamodule.Source`."""

    _target_: str = "bpr.data.datamodule.Source"
    images: str = MISSING
    annotations: str = MISSING
    predictions: list[str] = field(default_factory=list)


@dataclass
class DataConf:
    """Training data, see `bpr.data.datamodule.PatchDataModule`."""

    _target_: str = "bpr.data.datamodule.PatchDataModule"
    train: list[SourceConf] = field(default_factory=list)
    val: list[SourceConf] = field(default_factory=list)
    cache: str = MISSING
    batch_size: int = 32
    patches_per_image: int = 4
    patches_per_instance: int | None = None
    val_patches_per_instance: int | None = None
    min_iou: float = 0.5
    seed: int = 0
    num_workers: int = 0
    pin_memory: bool = False
    repeat_epoch: bool = False
    coarse: CoarseOrigin = CoarseOrigin.cached
    simulated_per_object: int = 1
    simulation: SimulationConf = field(default_factory=SimulationConf)  # type: ignore[valid-type]


@dataclass
class PathsConf:
    """Folders of this machine."""

    data: str = MISSING
    cache: str = MISSING
    outputs: str = MISSING


@dataclass
class TrainConf:
    """Everything that ``train.py`` takes."""

    patch: PatchConf = field(default_factory=PatchConf)  # type: ignore[valid-type]
    data: DataConf = field(default_factory=DataConf)
    augment: Any = None
    model: Any = None
    optim: Any = None
    trainer: Any = None
    callbacks: Any = None
    logger: Any = None
    paths: PathsConf = field(default_factory=PathsConf)
    seed: int = 0
    threads: int | None = None
    ckpt: str | None = None


@dataclass
class RefineConf:
    """Everything that ``refine.py`` takes."""

    images: str | None = None
    predictions: str | None = None
    annotations: str | None = None
    output: str | None = None
    data: Any = None
    format: str | None = None
    exif: ExifUse = ExifUse.auto
    ckpt: str = MISSING
    input_size: int | None = None
    threshold: float = 0.5
    rounds: list[Round] = field(default_factory=lambda: [Round.boundary])
    patches_per_forward: int | None = None
    backend: Backend | None = None
    images_per_batch: int = 4
    num_workers: int = 0
    dilation_ratio: float | None = None
    overwrite: bool = False
    report: bool = False
    contact_sheet: bool | None = None
    patch: PatchConf = field(default_factory=PatchConf)  # type: ignore[valid-type]
    trainer: Any = None
    paths: PathsConf = field(default_factory=PathsConf)
    threads: int | None = None


def register_schemas() -> None:
    """Make the schemas known to Hydra; ``conf/train.yaml`` and ``conf/refine.yaml`` start from them."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConf)
    store.store(name="refine_schema", node=RefineConf)
