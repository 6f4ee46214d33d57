"""What is known of a run when its results are written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bpr.cli.command import counted
from bpr.formats.annotations import Annotations
from bpr.formats.faults import Fault
from bpr.formats.predictions import Predictions
from bpr.structures import ImageRecord

_LISTED: Final = 5
"""Bad entries and images of each kind that are printed; the report has all."""


@dataclass(frozen=True, slots=True)
class RefinementSummary:
    """What a run did.

    Attributes:
        images: Images with predictions that are there.
        instances: Predictions in them.
        refined: Predictions that went through the network.
        changed: Of these, those whose mask changed.
        patches: Patches that went through the network.
        skipped: Predictions left as they are, by reason.
        kept: Bad entries and images whose masks were left as they came, beside those that were skipped.
        notes: Remarks on what was written, a line each.
    """

    images: int
    instances: int
    refined: int
    changed: int
    patches: int
    skipped: dict[str, int]
    kept: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def bad_masks(self) -> int:
        """Predictions left as they came because they, or their images, are bad."""
        return sum(fault.masks for fault in self.kept)

    @property
    def left(self) -> dict[str, int]:
        """Predictions left as they are for whatever reason, by reason."""
        counted = Counter(self.skipped)
        for fault in self.kept:
            counted[fault.reason] += fault.masks
        return dict(sorted(counted.items()))


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

    @property
    def class_names(self) -> Mapping[int, str]:
        """By category id: those of the annotations, or else of the predictions."""
        return self.coarse.class_names if self.annotations is None else self.annotations.categories


def format_summary(summary: RefinementSummary, elapsed: float) -> str:
    """Lines for people: what was refined, what was not and why, and how long it took, in seconds."""
    lines = [
        f"{counted(summary.images, 'image')}, {counted(summary.instances, 'instance')}: {summary.refined} refined in "
        f"{counted(summary.patches, 'patch', 'patches')} ({counted(summary.changed, 'mask')} changed), "
        f"{sum(summary.left.values())} left as they are"
    ]
    lines += [f"  left: {count} x {reason}" for reason, count in summary.left.items()]
    if not summary.instances:
        lines.append("WARNING: there was nothing to refine, the predictions hold no mask")
    return "\n".join([*lines, f"{elapsed:.1f} s"])


def format_kept(summary: RefinementSummary) -> str:
    """Lines for people: how many masks of bad entries and images are unrefined, by reason, with the first few."""
    lines = [
        f"WARNING: NOT refined: {counted(summary.bad_masks, 'mask')}; bad entries and images are as they came "
        "(on_error=keep)"
    ]
    for reason in dict.fromkeys(fault.reason for fault in summary.kept):
        faults = [fault for fault in summary.kept if fault.reason == reason]
        lines.append(f"  {sum(fault.masks for fault in faults)} x {reason}")
        lines += [f"    {_described(fault)}" for fault in faults[:_LISTED]]
        if len(faults) > _LISTED:
            lines.append(f"    and {len(faults) - _LISTED} more; report=true lists all")
    return "\n".join(lines)


def _described(fault: Fault) -> str:
    masks = "" if fault.masks == 1 else f" ({fault.masks} masks)"
    return " ".join(f"{fault.place}: {fault.problem}{masks}".split())
