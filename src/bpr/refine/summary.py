"""What is known of a run when its results are written."""

from collections.abc import Sequence
from dataclasses import dataclass

from bpr.formats.annotations import Annotations
from bpr.formats.predictions import Predictions
from bpr.structures import ImageRecord


@dataclass(frozen=True, slots=True)
class RefinementSummary:
    """What a run did.

    Attributes:
        images: Images with predictions.
        instances: Predictions in them.
        refined: Predictions that went through the network.
        changed: Of these, those whose mask is another one now.
        patches: Patches that went through the network.
        skipped: Predictions left as they are, by reason.
        notes: Remarks on what was written, a line each.
    """

    images: int
    instances: int
    refined: int
    changed: int
    patches: int
    skipped: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What went in and what came out, for those who judge or show it; all in memory, so that no file is read again.

    Attributes:
        records: Images with their coarse masks.
        coarse: Entries of the coarse results file.
        refined: Entries of the refined results file, in the same order.
        annotations: Ground truth, or names only, where given.
        summary: What was done and what was skipped.
        elapsed: Wall-clock seconds.
    """

    records: Sequence[ImageRecord]
    coarse: Predictions
    refined: Predictions
    annotations: Annotations | None
    summary: RefinementSummary
    elapsed: float


def format_summary(summary: RefinementSummary, elapsed: float) -> str:
    """Lines for people: what was refined, what was not and why, and how long it took, in seconds."""
    lines = [
        f"{summary.images} images, {summary.instances} instances: {summary.refined} refined in {summary.patches} "
        f"patches ({summary.changed} masks changed), {sum(summary.skipped.values())} left as they are"
    ]
    lines += [f"  left: {count} x {reason}" for reason, count in sorted(summary.skipped.items())]
    return "\n".join([*lines, f"{elapsed:.1f} s"])
