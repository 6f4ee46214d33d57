"""What Hydra knows of our settings: types that are checked when they are composed, and how parts are built."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING

from bpr.data.settings import TrainingData
from bpr.structures import Backend, ExifUse, PatchSpec, SettingError


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
    patches_per_forward: int | None = None
    backend: Backend | None = None
    images_per_batch: int = 4
    num_workers: int = 0
    dilation_ratio: float | None = None
    overwrite: bool = False
    report: bool = False
    contact_sheet: bool | None = None
    patch: Any = field(default_factory=_schema(PatchSpec, build=False))
    trainer: Any = None
    paths: PathsConf = field(default_factory=PathsConf)
    threads: int | None = None


def register_schemas() -> None:
    """Make the schemas known to Hydra; ``conf/train.yaml`` and ``conf/refine.yaml`` start from them."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConf)
    store.store(name="refine_schema", node=RefineConf)


def drop_null_groups(arguments: Sequence[str]) -> list[str]:
    """``experiment=null`` as ``~experiment``: Hydra takes null for a group in files, but not on the command line."""
    return [f"~{given[:-5]}" if given in ("experiment=null", "debug=null") else given for given in arguments]


def build(node: Any, **given: Any) -> Any:
    """Make what a part of the configuration describes, its nested parts first.

    Raises:
        SettingError: If a constructor refuses its arguments.
        Exception: One of the errors of this package, or of the operating system, as it is.
    """
    try:
        return instantiate(node, **given, _convert_="object")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if type(cause).__module__.startswith("bpr.") or isinstance(cause, OSError | ModuleNotFoundError):
            raise cause from error
        key = str(error).rpartition("full_key: ")[2].split("\n")[0]
        raise SettingError(f"{key}: {' '.join(str(cause).split())}") from error
