"""Arguments of the scripts, made ready for Hydra and checked in people's terms before it sees them."""

import difflib
import os
import re
from argparse import Action, ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, ValidationError

from bpr.config.groups import (
    ALIKE,
    GROUPS,
    check_added,
    check_in_group,
    check_null,
    has_own_defaults,
    is_group,
    is_own,
    part_of,
    unknown,
)
from bpr.structures import SettingError

_INTERPOLATION: Final = re.compile(r"(\\*)\$\{")
_PATHS: Final = frozenset({"images", "predictions", "annotations", "output", "ckpt", "path", "root", "dir"})
"""Settings that are paths, by the last part of their names; those of ``paths`` are too."""
_VARIABLES: Final = ("BPR_CACHE", "BPR_DATA", "BPR_OUTPUTS")
"""Of ``conf/paths/default.yaml``."""
_LIST: Final = "a list"
_KINDS: Final = {
    "Integer": "a whole number",
    "Float": "a number",
    "bool": "true or false",
    "ListConfig": _LIST,
    "not Optional": "a value",
}
"""What people call the kinds that OmegaConf's errors name."""
_FLAGS: Final = (
    "cfg",
    "config",
    "experimental",
    "help",
    "hydra",
    "info",
    "multirun",
    "package",
    "resolve",
    "run",
    "shell",
)
"""How Hydra's own flags begin, after the dashes."""


@contextmanager
def texts_as_help() -> Iterator[None]:
    """Let Hydra make its parser of arguments, in which the help of one is no text, as argparse of Python 3.14 needs it.

    Hydra #3121; no release of Hydra 1.3 has mended it.
    """
    add = ArgumentParser.add_argument

    def add_argument(self: ArgumentParser, *names: str, **options: Any) -> Action:
        if options.get("help") is not None:
            options["help"] = str(options["help"])
        return add(self, *names, **options)

    ArgumentParser.add_argument = add_argument  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ArgumentParser.add_argument = add  # type: ignore[method-assign]


def prepared(arguments: Sequence[str], schema: type, conf: Path | None = None) -> list[str]:
    """Arguments of a script for Hydra, which is stricter than people expect.

    Paths are quoted where Hydra's grammar needs it (``images=dir (1)``), and ``experiment=null`` becomes
    ``~experiment``: Hydra takes null for a group in files, but not on the command line. Variables of the environment
    that name folders, and are empty, are unset: Hydra has no other way to take them for that.

    Args:
        arguments: Of the command line.
        schema: `bpr.config.schemas.RefineConf` or `TrainConf`.
        conf: The configuration, for the settings of groups that have no schema, such as ``trainer``.

    Raises:
        SettingError: If a setting is not known, naming the nearest one, or has a value of the wrong kind.
    """
    for name in _VARIABLES:
        if os.environ.get(name) == "":
            del os.environ[name]
    sweeps = not {"-m", "--multirun"}.isdisjoint(arguments)
    conf = conf if has_own_defaults(arguments) else None
    _check_sweep(arguments, sweeps)
    result = []
    for argument, before in zip(arguments, ["", *arguments], strict=False):
        if not before.startswith("-"):
            _check_form(argument, schema)
        _check_setting(argument, arguments, schema, conf)
        if conf is None or not _is_default(argument, arguments, conf):
            result.append(_for_hydra(argument, sweeps))
    return result


def _check_setting(argument: str, arguments: Sequence[str], schema: type, conf: Path | None) -> None:
    """`SettingError` if ``NAME=VALUE`` has a name that is not known, or a value of the wrong kind."""
    key, equals, value = argument.partition("=")
    own = conf if is_own(arguments) else None
    if equals and re.fullmatch(r"[\w.]+", key):
        _check_value(argument, _check_known(key, schema))
        if own is not None:
            check_in_group(argument, arguments, schema, own)
        if conf is not None and value == "null" and key not in GROUPS:
            check_null(key, conf)
    elif equals and re.fullmatch(r"\++\w+", key) and own is not None:
        check_added(key.lstrip("+"), schema, own)


def _is_default(argument: str, arguments: Sequence[str], conf: Path) -> bool:
    """Whether ``GROUP=null`` alone says what is the case without it; Hydra takes null in files only."""
    group, _, value = argument.partition("=")
    others = any(one.startswith(f"{group}=") for one in arguments if one != argument)
    return value == "null" and group not in GROUPS and not others and is_group(group, conf)


def _for_hydra(argument: str, sweeps: bool) -> str:
    """An argument as Hydra takes it."""
    key, equals, value = argument.partition("=")
    if argument in ("experiment=null", "debug=null"):
        return f"~{key}"
    if _is_path(key) and equals and _needs_quotes(argument, Path(value), sweeps):
        text = _INTERPOLATION.sub(r"\1\1\\${", value) if _is_literal(value) else value
        return f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"
    return argument


def _check_form(argument: str, schema: type) -> None:
    """`SettingError` if a setting is given without its name, or as other programs take it: ``--output FILE``."""
    name, equals, _ = argument.removeprefix("--").partition("=")
    if argument.startswith("--") and not any(flag.startswith(name) or name.startswith(flag) for flag in _FLAGS):
        near = difflib.get_close_matches(name.replace("-", "_"), [*OmegaConf.structured(schema)], 1, ALIKE)
        if near:
            raise SettingError(f"{argument} is not taken: settings have no dashes, write {near[0]}=VALUE")
    if argument and not equals and not argument.startswith(("-", "~")):
        raise SettingError(f"{argument} is no setting: write its name before it, NAME={argument}")


def _is_path(key: str) -> bool:
    *before, last = key.lstrip("+").split(".")
    return last in _PATHS or before == ["paths"]


def _is_literal(value: str) -> bool:
    """Whether ``${`` stands for itself in a path: what it names, or the folder that this is to be in, is there."""
    path = Path(value)
    return path.exists() or (bool(_INTERPOLATION.search(str(path.parent))) and path.parent.exists())


def _needs_quotes(argument: str, path: Path, sweeps: bool) -> bool:
    """Whether Hydra would not take the value of an argument for the path that it is."""
    value = argument.partition("=")[2]
    if _INTERPOLATION.search(value) and _is_literal(value):
        return True
    try:
        override = OverridesParser.create().parse_override(argument)
        taken = None if override.is_sweep_override() else override.value()
    except HydraException:
        return True
    if override.is_sweep_override():
        return not sweeps or path.exists()
    if taken is None or taken == value:
        return False
    return path.exists() or isinstance(taken, bool | int | float) or taken == value.strip()


def _check_known(key: str, schema: type) -> DictConfig | None:
    """What a dotted name is a setting of; None where a schema does not know what there is.

    `SettingError` if it leads to nothing.
    """
    node: Any = OmegaConf.structured(schema)
    parts = key.split(".")
    for number, part in enumerate(parts):
        if not isinstance(node, DictConfig) or (number == 0 and part in GROUPS):
            return None
        known = [str(name) for name in node if name != "_target_"]
        if part not in known:
            raise SettingError(unknown(key, part, [".".join([*parts[:number], name]) for name in known]))
        parent, node = node, part_of(node, part)
    return None if isinstance(node, DictConfig) else parent


def _check_value(argument: str, parent: DictConfig | None) -> None:
    """`SettingError` if the value of ``KEY=VALUE`` is not one that ``parent``, a part of a schema, accepts."""
    key, _, text = argument.partition("=")
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return
    if parent is None or _is_path(key):
        return
    name = key.rpartition(".")[2]
    for value in _values(override):
        if (problem := _problem(parent, name, value)) is not None:
            if problem == _LIST:
                items = _problem(parent, name, [value])
                problem = f"a list, {key}=[{text}]," if items is None else f"a list in brackets, each {items},"
            elif isinstance(value, list) and _problem(parent, name, []) is None:
                problem = f"a list, each {problem},"
            optional = " or null" if value is not None and _problem(parent, name, None) is None else ""
            raise SettingError(f"{key} must be {problem}{optional}, got {text}".replace(",,", ","))


def _values(override: Override) -> list[Any]:
    """The values of ``KEY=VALUE``, several where it sweeps over them; none where these are not known in advance."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [one.text if isinstance(one, QuotedString) else one for one in value.list]
    return [] if override.is_sweep_override() else [value]


def _check_sweep(arguments: Sequence[str], sweeps: bool) -> None:
    """`SettingError` if values are given to sweep over that no ``-m`` asks for, or runs of a sweep share an output."""
    swept = [argument for argument in arguments if _sweeps_over(argument, sweeps)]
    if swept and not sweeps:
        raise SettingError(f"{swept[0]} are several values: give one, or add -m to have a run of each")
    shared = [argument for argument in arguments if re.match(r"\+*output=(?!null$|.*\$\{)", argument)]
    if swept and not set(shared) <= set(swept):
        raise SettingError(
            f"each run of the sweep would write {shared[0]}: leave output out, and each has a folder of its own, or "
            f"name what differs, 'output=masks-${{{swept[0].partition('=')[0]}}}.json'"
        )


def _sweeps_over(argument: str, sweeps: bool) -> bool:
    """Whether an argument has several values; a path with commas is one, unless they are asked for."""
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or (_is_path(key) and not (sweeps and not Path(value).exists())):
        return False
    try:
        return bool(OverridesParser.create().parse_override(argument).is_sweep_override())
    except HydraException:
        return False


def _problem(parent: DictConfig, name: str, value: object) -> str | None:
    """What a setting must be that cannot have this value, for people; None if it can."""
    try:
        parent.copy()[name] = value
    except ValidationError as error:
        text = str(error).split("\n")[0]
        if names := re.search(r"expected one of \[(.*)\]", text):
            return f"one of {names[1]}"
        if value is None and (problem := _problem(parent, name, "")):
            return problem
        return next((words for kind, words in _KINDS.items() if kind in text), f"of another kind ({text})")
    return None
