"""What there is to be set in the groups of the configuration, whether a schema says it or files do."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bpr.structures import SettingError

GROUPS: Final = frozenset({"experiment", "debug", "hydra"})
"""What may be chosen beside the settings of a schema."""
ALIKE: Final = 0.8
"""How alike two names are of which one may be another thing, and yet is taken as misspelt."""


def part_of(node: DictConfig, name: str) -> Any:
    """The part of a configuration that has a name; None if it is still missing."""
    return None if OmegaConf.is_missing(node, name) else node[name]


def is_own(arguments: Sequence[str]) -> bool:
    """Whether all of the configuration is ours: no folder of the user's takes its place or adds to it."""
    return not any(re.match(r"--config|-c[dnp]|\+*hydra\.searchpath", argument) for argument in arguments)


def has_own_defaults(arguments: Sequence[str]) -> bool:
    """Whether ours is the configuration that is composed, to which a folder of the user's may add choices."""
    return not any(re.match(r"--config-[np]|-c[np]", argument) for argument in arguments)


def is_group(name: str, conf: Path) -> bool:
    """Whether the configuration has a group of this name."""
    return bool(re.fullmatch(r"\w+", name)) and conf.with_name(name).is_dir()


def check_added(name: str, schema: type, conf: Path) -> None:
    """`SettingError` if a name that is added to the settings is one of them, misspelt."""
    known = [str(one) for one in OmegaConf.structured(schema)]
    near = difflib.get_close_matches(name, known, 1, ALIKE)
    if near and name not in known and not conf.with_name(name).is_dir():
        raise SettingError(f"{name} is not a setting: did you mean {near[0]}?")


def check_null(group: str, conf: Path) -> None:
    """`SettingError` if a group that is set to null has another default, so that it cannot be left out."""
    chosen = [one for one in OmegaConf.load(conf).defaults if isinstance(one, DictConfig) and group in one]
    if any(one[group] is not None for one in chosen):
        names = sorted(file.stem for file in conf.with_name(group).glob("*.yaml") if file.stem != "base")
        raise SettingError(f"{group} must be one of {', '.join(names)}, got null")


def check_in_group(argument: str, arguments: Sequence[str], schema: type, conf: Path) -> None:
    """`SettingError` if a group that has no schema lacks the setting that ``GROUP.NAME=VALUE`` changes.

    The configuration is only composed where no file of the group has a setting of this name.
    """
    key = argument.partition("=")[0]
    group, dot, inner = key.partition(".")
    if not dot or group in GROUPS or isinstance(part_of(OmegaConf.structured(schema), group), DictConfig):
        return
    name = key.rpartition(".")[2]
    if any(
        re.search(rf"\b{name}:", file.read_text(encoding="utf-8")) for file in conf.with_name(group).rglob("*.yaml")
    ):
        return
    others = [one for one in arguments if one != argument and not one.startswith("-")]
    try:
        with initialize_config_dir(str(conf.parent.resolve()), version_base="1.3"):
            composed: Any = OmegaConf.to_container(compose(conf.stem, others))
    except (HydraException, OmegaConfBaseException):
        return  # Hydra says what is wrong
    known, node = [f"{group}.{one}" for one in _dotted(composed[group])], composed[group]
    for part in inner.split("."):
        if not isinstance(node, dict):
            return
        if part not in node:
            problem = f"{unknown(key, name, known)}; +{argument} adds one that the configuration does not have"
            raise SettingError(problem)
        node = node[part]


def unknown(key: str, part: str, known: Sequence[str]) -> str:
    """That a setting is not known, and the one of ``known``, all dotted, that ends most like its ``part``."""
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = difflib.get_close_matches(part, ends, 1)
    return f"{key} is not a setting: {f'did you mean {ends[near[0]]}?' if near else '--cfg job prints all'}"


def _dotted(value: Any) -> list[str]:
    """The dotted names of all that is in a part of a configuration."""
    if not isinstance(value, dict):
        return []
    return [name for key, one in value.items() for name in [str(key), *(f"{key}.{inner}" for inner in _dotted(one))]]
