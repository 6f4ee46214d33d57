"""How thoroughly masks are refined, in one word."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from bpr.structures import SettingError


class Preset(StrEnum):
    """A choice of settings, measured by ``python -m bpr.benchmark.presets``.

    ``fast``: only the first round, at the scale of the object; ``default``: the rounds that suit the weights; ``best``:
    a second look at the boundaries, and each patch also seen mirrored.
    """

    fast = "fast"
    default = "default"
    best = "best"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise SettingError(f"preset must be one of {', '.join(cls)}, got {value!r}")


PRESETS: Final[Mapping[Preset, Mapping[str, Any]]] = {
    Preset.fast: {"rounds": ["object"]},
    Preset.default: {},
    Preset.best: {"rounds": ["object", "boundary", "boundary"], "flip": True},
}
"""The settings of ``refine.py`` and of `bpr.Refiner` that each of them changes; one that is given goes before it."""
