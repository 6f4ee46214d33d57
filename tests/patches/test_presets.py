import pytest

from bpr.patches.presets import Preset
from bpr.structures import PatchSpec, Round

PAPER, OWN = (Round.boundary,), (Round.object, Round.boundary, Round.boundary)


@pytest.mark.parametrize(
    ("preset", "suited", "rounds"),
    [
        (Preset.fast, OWN, (Round.object,)),
        (Preset.fast, PAPER, PAPER),
        (Preset.default, OWN, OWN),
        (Preset.best, OWN, OWN),
        (Preset.best, PAPER, PAPER),
    ],
)
def test_no_preset_runs_a_round_that_does_not_suit_the_weights(preset, suited, rounds):
    assert preset.rounds(suited) == rounds


def test_best_has_patches_that_overlap_more_unless_that_is_said():
    assert Preset.best.patches(PatchSpec(48)) == PatchSpec(48, margin=6)
    for given in (PatchSpec(margin=2), PatchSpec(placement="nms"), PatchSpec(placement="contour")):
        assert Preset.best.patches(given) == given
    assert Preset.default.patches(PatchSpec()) == Preset.fast.patches(PatchSpec()) == PatchSpec()
