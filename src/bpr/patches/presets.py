"""How thoroughly masks are refined, in one word."""

from collections.abc import Sequence
from dataclasses import replace

from bpr.structures import Choice, PatchSpec, Placement, Round


class Preset(Choice):
    """What stands for the rounds and the overlap of patches where these are not given.

    ``fast``: only the first of the rounds that suit the weights; ``default``: all of them; ``best``: all of them, in
    patches that overlap more. Measured by ``python -m bpr.benchmark.presets``.
    """

    fast = "fast"
    default = "default"
    best = "best"

    def rounds(self, suited: Sequence[Round]) -> tuple[Round, ...]:
        """The rounds that are run, of those that suit the weights."""
        return (suited[0],) if self is Preset.fast else tuple(suited)

    def patches(self, spec: PatchSpec) -> PatchSpec:
        """How patches are placed: with `best` and `Placement.cover`, the margin is an eighth if it was None."""
        if self is Preset.best and spec.placement is Placement.cover and spec.margin is None:
            return replace(spec, margin=spec.size // 8)
        return spec
