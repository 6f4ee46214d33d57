import pytest

from bpr.patches.presets import Preset
from bpr.structures import Round

PAPER, OWN = (Round.boundary,), (Round.object, Round.boundary, Round.boundary)


@pytest.mark.parametrize(
    ("preset", "suited", "rounds"),
    [
        (Preset.fast, OWN, (Round.object,)),
        (Preset.fast, PAPER, PAPER),
        (Preset.default, OWN, OWN),
        (Preset.best, OWN, (*OWN, Round.boundary)),
        (Preset.best, PAPER, (Round.boundary, Round.boundary)),
    ],
)
def test_no_preset_runs_a_round_that_does_not_suit_the_weights(preset, suited, rounds):
    assert preset.rounds(suited) == rounds
