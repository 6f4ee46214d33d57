"""How thoroughly masks are refined, in one word."""

from collections.abc import Sequence
from enum import StrEnum

from bpr.structures import Round, SettingError


class Preset(StrEnum):
    """What stands for the rounds, and for seeing patches mirrored too, where these are not given.

    ``fast``: only the first of the rounds that suit the weights; ``default``: all of them; ``best``: the last of them
    once more, and each patch also seen mirrored. Measured by ``python -m bpr.benchmark.presets``.
    """

    fast = "fast"
    default = "default"
    best = "best"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise SettingError(f"preset must be one of {', '.join(cls)}, got {value!r}")

    def rounds(self, suited: Sequence[Round]) -> tuple[Round, ...]:
        """The rounds that are run, of those that suit the weights."""
        if self is Preset.fast:
            return (suited[0],)
        return (*suited, suited[-1]) if self is Preset.best else tuple(suited)

    @property
    def flip(self) -> bool:
        """Whether each patch is also seen mirrored."""
        return self is Preset.best
