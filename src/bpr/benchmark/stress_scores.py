"""How a refinement treats masks of known quality: what it gains, what it spoils, and from which quality on it harms."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from bpr.evaluation.instances import SPOILT, UNCHANGED
from bpr.evaluation.table import ABSENT, markdown, percent
from bpr.patches.boundary import inner_boundary
from bpr.structures import Mask
from bpr.synthetic.coarse_masks import simulate_coarse
from bpr.synthetic.known_errors import KNOWN_ERRORS

SIMULATED: Final = "simulated"
INPUTS: Final = (*KNOWN_ERRORS, SIMULATED)
"""Names of the coarse masks that are made of each object, in the order of the table."""


_HEAD: Final = (
    *("input", "objects", "IoU before", "IoU after", "worse > 0.001", "worse > 0.02"),
    *("false fg, px", "false bg, px"),
)
_NOTE: Final = "false fg, bg: pixels wrongly added and wrongly missing after refining, per boundary pixel of the truth"


class Errors(NamedTuple):
    """A mask beside the truth: IoU in [0, 1], wrongly added and wrongly missing pixels."""

    iou: float
    false_foreground: int
    false_background: int


class Sample(NamedTuple):
    """One object with one of the `INPUTS`: errors of the coarse mask and of the refined one.

    ``boundary`` counts the pixels of the object that have a 4-neighbour outside of it, inside the image.
    """

    input: str
    before: Errors
    after: Errors
    boundary: int


@dataclass(frozen=True, slots=True)
class InputScores:
    """What a refinement does to one of the `INPUTS`, with the keys of ``--json``; None where no object is measured.

    Attributes:
        input: Its name.
        objects: That were measured.
        left_out: Objects of which it would leave no pixel.
        iou_before: Mean over objects of the IoU of the coarse mask with the truth, in [0, 1].
        iou_after: The same of the refined mask.
        worse: Share of objects whose IoU falls by more than 0.001.
        spoilt: Share of objects whose IoU falls by more than 0.02.
        false_foreground_before: Pixels of the coarse masks outside of the true ones, summed over the objects, divided
            by the number of boundary pixels of the true masks: px, as far as the boundary lies too far out on average.
        false_background_before: The same of the pixels of the true masks that the coarse ones miss.
        false_foreground: As ``false_foreground_before``, of the refined masks.
        false_background: As ``false_background_before``, of the refined masks.
    """

    input: str
    objects: int
    left_out: int
    iou_before: float | None = None
    iou_after: float | None = None
    worse: float | None = None
    spoilt: float | None = None
    false_foreground_before: float | None = None
    false_background_before: float | None = None
    false_foreground: float | None = None
    false_background: float | None = None

    @property
    def gain(self) -> float | None:
        """Change of the mean IoU."""
        return None if self.iou_before is None or self.iou_after is None else self.iou_after - self.iou_before


def coarse_inputs(
    true: Mask, others: Mask, rng: np.random.Generator, names: Collection[str] = INPUTS
) -> dict[str, Mask]:
    """Coarse masks of an object by name, those of `INPUTS` that are named and not empty.

    Args:
        true: (h, w) bool, the object; not modified.
        others: (h, w) bool, union of the other objects of the image.
        rng: Source of the chance in `SIMULATED`; the others have none.
        names: Which to make.
    """
    made = {name: change(true) for name, change in KNOWN_ERRORS.items() if name in names}
    if SIMULATED in names:
        made[SIMULATED] = simulate_coarse(true, others, rng)
    return {name: mask for name, mask in made.items() if mask.any()}


def compare_masks(name: str, true: Mask, coarse: Mask, refined: Mask) -> Sample:
    """The sample of three (h, w) bool masks; ``true`` and ``coarse`` are not empty."""
    return Sample(name, _errors(coarse, true), _errors(refined, true), int(inner_boundary(true).sum()))


def score_inputs(samples: Sequence[Sample], objects: int, names: Collection[str] = INPUTS) -> list[InputScores]:
    """The scores of each of the `INPUTS` that are named, in the order of `INPUTS`.

    Args:
        samples: In any order; at most one of an object and an input.
        objects: Of which inputs were made.
        names: Of the inputs that were made.
    """
    by_input = {name: [sample for sample in samples if sample.input == name] for name in INPUTS if name in names}
    return [_score(name, found, objects) for name, found in by_input.items()]


def break_even(scores: Sequence[InputScores]) -> float | None:
    """The mean IoU of coarse masks below which refining helps, in [0, 1].

    With the inputs in the order of their mean IoU, it lies between the last of those that gain from the lowest on and
    the next, where the gain, interpolated linearly, is 0.

    Returns:
        None if the input of the lowest IoU does not gain, or all gain.
    """
    points = _points(scores)
    for (x, gain), (next_x, next_gain) in itertools.pairwise(points):
        if gain <= 0:
            return None
        if next_gain <= 0:
            return x + (next_x - x) * gain / (gain - next_gain)
    return None


def format_scores(scores: Sequence[InputScores]) -> str:
    """The scores as a Markdown table, IoU and shares in percent, with the break-even and what was left out below."""
    rows = [
        (
            row.input,
            str(row.objects),
            *map(percent, (row.iou_before, row.iou_after, row.worse, row.spoilt)),
            *map(_pixels, (row.false_foreground, row.false_background)),
        )
        for row in scores
    ]
    lines = markdown([_HEAD, *rows])
    lines += [
        f"{row.input}: {row.left_out} object{'s' if row.left_out > 1 else ''} left out, of which no pixel would be left"
        for row in scores
        if row.left_out
    ]
    return "\n".join([*lines, _NOTE, f"break-even: {_verdict(scores)}"])


def _errors(mask: Mask, true: Mask) -> Errors:
    added, missing = int((mask & ~true).sum()), int((true & ~mask).sum())
    area = int(true.sum())
    return Errors((area - missing) / (area + added), added, missing)


def _score(name: str, samples: Sequence[Sample], objects: int) -> InputScores:
    left_out = objects - len(samples)
    if not samples:
        return InputScores(name, 0, left_out)
    before = np.array([sample.before for sample in samples], np.float64)
    after = np.array([sample.after for sample in samples], np.float64)
    loss = before[:, 0] - after[:, 0]
    boundary = sum(sample.boundary for sample in samples)
    sums = [*before[:, 1:].sum(axis=0), *after[:, 1:].sum(axis=0)]
    return InputScores(
        name,
        len(samples),
        left_out,
        float(before[:, 0].mean()),
        float(after[:, 0].mean()),
        float((loss > UNCHANGED).mean()),
        float((loss > SPOILT).mean()),
        *(float(pixels / boundary) if boundary else None for pixels in sums),
    )


def _points(scores: Sequence[InputScores]) -> list[tuple[float, float]]:
    """Mean IoU and gain of the inputs that were measured, by IoU; of equal IoU, the smaller gain first."""
    return sorted((s.iou_before, s.gain) for s in scores if s.iou_before is not None and s.gain is not None)


def _verdict(scores: Sequence[InputScores]) -> str:
    found, points = break_even(scores), _points(scores)
    if found is not None:
        return f"refining helps masks of a mean IoU below {percent(found)}"
    if points and all(gain > 0 for _, gain in points):
        return "none, refining helps all of these inputs"
    return "none, refining does not even help the input of the lowest mean IoU"


def _pixels(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"
