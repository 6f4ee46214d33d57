"""Hydra structured schemas: a typo or a value of the wrong type fails when the configuration is composed."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, Final

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from bpr.structures import Backend, ExifUse, PatchSpec, Round, SettingError
from bpr.synthetic.coarse_masks import CoarseOrigin, SimulationSpec

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

_OF_THE_MACHINE: Final = ("accelerator", "devices", "num_nodes", "strategy", "precision")
"""Settings of a trainer that may not suit a machine."""


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
    """Everything that ``refine.py`` takes; the defaults are in ``conf/refine.yaml``."""

    images: str | None = MISSING
    predictions: str | None = MISSING
    annotations: str | None = MISSING
    output: str | None = MISSING
    data: Any = None
    format: str | None = MISSING
    ignore_label: int | None = MISSING
    exif: ExifUse = MISSING
    ckpt: str = MISSING
    input_size: int | None = MISSING
    rounds: list[Round] = MISSING
    threshold: float = MISSING
    patches_per_forward: int | None = MISSING
    backend: Backend | None = MISSING
    images_per_batch: int = MISSING
    num_workers: int = MISSING
    dilation_ratio: float | None = MISSING
    overwrite: bool = MISSING
    report: bool = MISSING
    contact_sheet: bool | None = MISSING
    patch: PatchConf = field(default_factory=PatchConf)  # type: ignore[valid-type]
    trainer: Any = MISSING
    paths: PathsConf = field(default_factory=PathsConf)
    threads: int | None = MISSING


def refine_values(cfg: DictConfig) -> dict[str, Any]:
    """The configuration of ``refine.py`` as plain values, for `bpr.refine.settings.RefineSettings.from_config`.

    Without ``trainer``, which `build_trainer` takes. ``data`` is the first validation set of the data set that was
    chosen, built only where images or predictions are not given; the rest of it is for training.
    """
    values = OmegaConf.to_container(_without(cfg, "data", "trainer"), resolve=True)
    assert isinstance(values, dict)
    used = cfg.data is not None and (cfg.images is None or cfg.predictions is None)
    return {str(name): value for name, value in values.items()} | {
        "data": instantiate(cfg.data.val[0]) if used else None
    }


def refine_text(cfg: DictConfig) -> str:
    """The same for people, as YAML, with ``trainer``."""
    return OmegaConf.to_yaml(_without(cfg, "data"), resolve=True)


def build_trainer(node: DictConfig, **options: Any) -> "Trainer":
    """The trainer of a configuration; what it refuses is an error of the user.

    Args:
        node: ``trainer`` of a composed configuration.
        options: Replace or add arguments.

    Raises:
        SettingError: If the trainer cannot be built with these settings on this machine.
    """
    try:
        trainer: Trainer = instantiate(node, _convert_="object", **options)
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, ValueError | ImportError) and type(cause).__name__ != "MisconfigurationException":
            raise
        given = ", ".join(f"trainer.{name}={node[name]}" for name in _OF_THE_MACHINE if name in node)
        raise SettingError(f"{cause} Change what does not suit this machine in: {given}") from error
    return trainer


def _without(cfg: DictConfig, *names: str) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name not in names])


def register_schemas() -> None:
    """Make the schemas known to Hydra; ``conf/train.yaml`` and ``conf/refine.yaml`` start from them."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConf)
    store.store(name="refine_schema", node=RefineConf)
