"""An evaluation as a table for people."""

from collections.abc import Callable, Sequence
from operator import attrgetter

from bpr.cli.command import counted
from bpr.evaluation.instances import MIN_IOU, SPOILT, UNCHANGED
from bpr.evaluation.scores import Evaluation, Scores

ABSENT = "\N{EN DASH}"
"""Printed where there is nothing to score."""


def format_table(evaluation: Evaluation) -> str:
    """The report as text: a Markdown table in percent (`ABSENT` where there is no object), and counts below it."""
    return "\n".join([*markdown(table_rows(evaluation), 7), "", *remarks(evaluation)])


def markdown(rows: Sequence[Sequence[str]], least: int = 0) -> list[str]:
    """The lines of a Markdown table, the first row its head; all columns but the first are numbers.

    Columns of numbers are at least ``least`` characters wide.
    """
    name, *numbers = (max(map(len, column)) for column in zip(*rows, strict=True))
    widths = [max(width, least) for width in numbers]
    rule = ["-" * name, *("-" * (width - 1) + ":" for width in widths)]
    aligned = ([row[0].ljust(name), *map(str.rjust, row[1:], widths)] for row in (rows[0], rule, *rows[1:]))
    return [f"| {' | '.join(cells)} |" for cells in aligned]


def table_rows(evaluation: Evaluation) -> list[list[str]]:
    """The cells of the table of scores, in percent; the first row is the head, the first column the names."""
    before, after = evaluation.before, evaluation.scores
    if before is None:
        return [["", "value"], *([name, percent(read(after))] for name, read in _ROWS)]
    return [
        ["", "coarse", "refined", "change"],
        *([name, *percents(read(before), read(after))] for name, read in _ROWS),
    ]


def percent(score: float | None) -> str:
    """A score in [0, 1] as percent with one decimal, or `ABSENT`."""
    return ABSENT if score is None else f"{100 * score:.1f}"


def percents(before: float | None, after: float | None) -> list[str]:
    """A score before, after, and its change, in percent."""
    change = ABSENT if before is None or after is None else f"{round(100 * (after - before), 1) + 0.0:+.1f}"
    return [percent(before), percent(after), change]


def remarks(evaluation: Evaluation) -> list[str]:
    """Lines that say what was counted, and how many of the matched instances changed for better or worse."""
    masks = "" if evaluation.before is None else " of the coarse masks"
    predictions = f"{counted(evaluation.images, 'image')}, {counted(evaluation.predictions, 'prediction')}"
    if evaluation.unscored:
        predictions += f" ({evaluation.unscored} of classes without an annotated object: not scored)"
    bad = counted(evaluation.unreadable, "bad prediction")
    bad += f" {'is' if evaluation.unreadable == 1 else 'are'} not scored, before or after"
    lines = [
        predictions,
        *([bad] if evaluation.unreadable else []),
        f"Boundary AP with dilation ratio {evaluation.dilation_ratio:g}",
        f"{counted(evaluation.matched, 'matched instance')} (IoU{masks} >= {MIN_IOU:g})",
    ]
    for name, shares in (("mask IoU", evaluation.iou_shares), ("boundary F", evaluation.boundary_f_shares)):
        if shares is not None:
            worse = f"{shares.worse:.1%} worse ({shares.spoilt:.1%} by more than {SPOILT})"
            parts = f"{shares.better:.1%} better, {worse}, {shares.unchanged:.1%} unchanged"
            lines.append(f"  by {name}: {parts} (by at most {UNCHANGED})")
    return lines


_AP = {"": "ap", "50": "ap50", "75": "ap75", " small": "small", " medium": "medium", " large": "large"}
_ROWS: tuple[tuple[str, Callable[[Scores], float | None]], ...] = (
    *((f"AP{which}", attrgetter(f"mask.{name}")) for which, name in _AP.items()),
    *((f"Boundary AP{which}", attrgetter(f"boundary.{name}")) for which, name in _AP.items()),
    ("Boundary F (matched)", attrgetter("boundary_f")),
    ("Mask IoU (matched)", attrgetter("mask_iou")),
)
