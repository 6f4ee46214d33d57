"""Commands for people to repeat: a script as it was started, or the one to go on with."""

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


def command(script: str, *arguments: str) -> str:
    """How ``script`` is run from the folder of this run's command: by its name if it lies there, else by ``bpr``."""
    here = _folder() / script
    named = here.is_file() and here.resolve() == _running(script)
    return shlex.join([*(("python", script) if named else ("bpr", here.stem)), *arguments])


def same_command(script: str, **changed: str) -> str:
    """How ``script`` is run with the configuration and the settings of this run, but for those ``changed``.

    The folder of the run is a new one.
    """
    settings = [f"{name}={value}" for name, value in changed.items()]
    if not HydraConfig.initialized():
        return command(script, *settings)
    given = HydraConfig.get().overrides
    searched = [override for override in given.hydra if override.lstrip("+").startswith("hydra.searchpath=")]
    kept = [override for override in given.task if override.partition("=")[0] not in changed]
    return command(script, *_flags(script), *searched, *kept, *settings)


def _flags(script: str) -> list[str]:
    """Hydra's own flags, which are no settings, where the configuration is not that of the script alone."""
    name, folders, running = HydraConfig.get().job.config_name, _sources(), _running(script)
    own = running is not None and folders["main"] == str(running.with_name("conf"))
    chosen = {
        "path": None if own else folders["main"],
        "dir": folders.get("command-line"),
        "name": None if name == Path(script).stem else name,
    }
    return [f"--config-{kind}={value}" for kind, value in chosen.items() if value is not None]


def _running(script: str) -> Path | None:
    """Where ``script`` lies: beside what was started, or, if that is a launcher, beside the configuration."""
    beside = [Path(_folder(), sys.argv[0])]
    if HydraConfig.initialized():
        beside.append(Path(_sources()["main"]))
    return next((path for path in (one.resolve().with_name(script) for one in beside) if path.is_file()), None)


def _sources() -> dict[str, str]:
    """Folders and packages of the configuration, by what named them."""
    sources = HydraConfig.get().runtime.config_sources
    return {one.provider: one.path if one.schema == "file" else f"{one.schema}://{one.path}" for one in sources}


def _folder() -> Path:
    """Where the command of this run was given; Hydra may have changed to another folder."""
    return Path(HydraConfig.get().runtime.cwd if HydraConfig.initialized() else ".")
