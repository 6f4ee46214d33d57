"""Commands for people to repeat: a script as it was started, or the one to go on with."""

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


def command(script: str, *arguments: str) -> str:
    """How ``script`` is run from the current folder: by its name where it lies there, else by ``bpr``."""
    there = Path(script).resolve() == _running().with_name(script) and Path(script).is_file()
    return shlex.join([*(("python", script) if there else ("bpr", Path(script).stem)), *arguments])


def same_command(script: str, **changed: str) -> str:
    """How ``script`` is run with the configuration and the settings of this run, but for those ``changed``.

    The folder of the run is a new one.
    """
    settings = [f"{name}={value}" for name, value in changed.items()]
    if not HydraConfig.initialized():
        return command(script, *settings)
    flags, given = _flags(Path(script).stem), HydraConfig.get().overrides
    searched = [override for override in given.hydra if override.lstrip("+").startswith("hydra.searchpath=")]
    kept = [override for override in given.task if override.partition("=")[0] not in changed]
    return command(script, *flags, *searched, *kept, *settings)


def _flags(name: str) -> list[str]:
    """Hydra's own flags, which are no settings, where the configuration is not that of the script alone."""
    hydra = HydraConfig.get()
    folders = {source.provider: source.path for source in hydra.runtime.config_sources}
    own = str(_running().with_name("conf"))
    chosen = {
        "path": folders["main"] if folders["main"] != own else None,
        "dir": folders.get("command-line"),
        "name": hydra.job.config_name if hydra.job.config_name != name else None,
    }
    return [f"--config-{kind}={value}" for kind, value in chosen.items() if value is not None]


def _running() -> Path:
    """The script of this process."""
    return Path(sys.argv[0]).resolve()
