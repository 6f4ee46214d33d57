"""What Hydra knows of our settings: types that are checked when they are composed, and how parts are built."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from bpr.cli.command import counted
from bpr.data.settings import Source, TrainingData
from bpr.patches.presets import Preset
from bpr.structures import Backend, ExifUse, OnError, PatchSpec, Round, SettingError


def _schema(checked: type, build: bool = True) -> Callable[[], Any]:
    """Fields, types and defaults of a frozen dataclass as a dataclass that OmegaConf does not lock against overrides.

    Sequences are left to the constructor of ``checked``, whose name becomes ``_target_`` if Hydra is to ``build`` it.
    """
    hints = get_type_hints(checked)
    copied: list[Any] = []
    for its in fields(checked):
        hint = hints[its.name]
        if is_dataclass(hint):
            copied.append((its.name, Any, field(default_factory=_schema(hint))))  # type: ignore[arg-type]
        else:
            default = MISSING if its.default is NO_DEFAULT else its.default
            of_items = get_origin(hint) is Sequence or Sequence in [get_origin(part) for part in get_args(hint)]
            kind = Any if of_items else str if hint is Path else hint
            copied.append((its.name, kind, field(default=default)))
    target = [("_target_", str, field(default=f"{checked.__module__}.{checked.__qualname__}"))] if build else []
    made: Callable[[], Any] = make_dataclass(checked.__name__, target + copied)
    return made


@dataclass
class PathsConf:
    """Folders of this machine."""

    data: str = MISSING
    cache: str = MISSING
    outputs: str = MISSING


@dataclass
class TrainConf:
    """Everything that ``train.py`` takes."""

    patch: Any = field(default_factory=_schema(PatchSpec, build=False))
    data: Any = field(default_factory=_schema(TrainingData))
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
    polygon_tolerance: float = MISSING
    crowds: bool = MISSING
    exif: ExifUse = MISSING
    on_error: OnError = MISSING
    min_score: float = MISSING
    ckpt: str = MISSING
    input_size: int | None = MISSING
    preset: Preset = MISSING
    rounds: list[Round] | None = MISSING
    flip: bool = MISSING
    trust: bool = MISSING
    threshold: float = MISSING
    patches_per_forward: int | None = MISSING
    backend: Backend | None = MISSING
    images_per_batch: int = MISSING
    num_workers: int | None = MISSING
    dilation_ratio: float | None = MISSING
    overwrite: bool = MISSING
    report: bool = MISSING
    report_min_score: float = MISSING
    contact_sheet: bool | None = MISSING
    patch: Any = field(default_factory=_schema(PatchSpec, build=False))
    trainer: Any = MISSING
    paths: PathsConf = field(default_factory=PathsConf)
    threads: int | None = MISSING


def refine_values(cfg: DictConfig) -> dict[str, Any]:
    """The configuration of ``refine.py`` as plain values, for `bpr.refine.settings.RefineSettings.from_config`.

    Without ``trainer``, which `bpr.models.trainer.build_trainer` takes. ``data`` is the first validation set of the
    data set that was chosen, built only where images or predictions are not given; the rest of it is for training.
    ``notes`` are for people, a line each.
    """
    known = [*OmegaConf.structured(RefineConf)]
    added = [str(name) for name in cfg if name not in known]  # by +NAME=VALUE, to be named in others
    values = OmegaConf.to_container(_without(cfg, "data", "trainer", *added), resolve=True)
    assert isinstance(values, dict)
    source, notes = _of_data_set(cfg)
    return {str(name): value for name, value in values.items()} | {"data": source, "notes": notes}


def _of_data_set(cfg: DictConfig) -> tuple[Source | None, tuple[str, ...]]:
    """What of ``data=NAME`` is refined, if any, and notes on what is not."""
    if cfg.data is None:
        return None, ()
    if cfg.images is not None and cfg.predictions is not None:
        note = "data=NAME is not used, as images and predictions are given; annotations=FILE gives their ground truth"
        return None, (note,)
    if not cfg.data.get("val"):
        raise SettingError("data=NAME has no data.val, of which the first is refined: give images and predictions")
    first, more = Source.of(build(cfg.data.val[0])), len(cfg.data.val) - 1
    left = [counted(more, "more set of images")] if more else []
    if cfg.predictions is None and first.predictions[1:]:
        left.append(counted(len(first.predictions) - 1, "more results of the first", "more results of the first"))
    note = f"data.val has {' and '.join(left)}, not refined here: give images=DIR and predictions=FILE"
    return first, (note,) if left else ()


def refine_text(cfg: DictConfig) -> str:
    """The same for people, as YAML, with ``trainer``."""
    return OmegaConf.to_yaml(_without(cfg, "data"), resolve=True)


def _without(cfg: DictConfig, *names: str) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name not in names])


def register_schemas() -> None:
    """Make the schemas known to Hydra; ``conf/train.yaml`` and ``conf/refine.yaml`` start from them."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConf)
    store.store(name="refine_schema", node=RefineConf)


def build(node: Any, **given: Any) -> Any:
    """Make what a part of the configuration describes, its nested parts first.

    `SettingError` if an argument is missing, or a constructor refuses some; errors of this package or the operating
    system as they are.
    """
    try:
        return instantiate(node, **given, _convert_="object")
    except MissingMandatoryValue as error:
        raise SettingError(f"{error.full_key} is missing: give {error.full_key}=VALUE") from error
    except InstantiationException as error:
        cause = error.__cause__ or error
        if type(cause).__module__.startswith("bpr.") or isinstance(cause, OSError | ModuleNotFoundError):
            raise cause from error
        key = str(error).rpartition("full_key: ")[2].split("\n")[0]
        raise SettingError(f"{key}: {' '.join(str(cause).split())}") from error
