"""Before and after as one picture: a grid of the pictures of the instances that changed most."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from bpr.drawing import COLOURS, write_png
from bpr.report.changes import InstanceChange, most_changed
from bpr.report.pictures import Panel, panels_of

PANEL: Final = 208
"""Side of a cell of the grid, px; pictures are not larger."""

_GAP, _CAPTION, _MARGIN = 4, 26, 12
_PAPER, _INK = (250, 250, 250), (20, 20, 20)
_EXPLAINED = "Of each image, the two predictions whose masks changed most (share of pixels times score)."

Example = tuple[str, Sequence[Panel]]
"""A caption of one line, and the pictures of one instance."""


def write_contact_sheet(
    path: Path, changes: Sequence[InstanceChange], class_names: Mapping[int, str], max_images: int = 12
) -> int:
    """Write a sheet of the instances that changed, two of an image, as a PNG file; none if no mask changed.

    Images, at most ``max_images``, are spread evenly over those that changed. Gives the number of instances on it.
    """
    rows = choose_instances(changes, max_images)
    panels = iter(panels_of([change for row in rows for change in row], PANEL))
    examples = [[(_caption(change, class_names), next(panels)) for change in row] for row in rows]
    if examples:
        write_png(draw_sheet(examples), path)
    return sum(map(len, rows))


def choose_instances(changes: Sequence[InstanceChange], max_images: int) -> list[list[InstanceChange]]:
    """Of up to ``max_images`` images, spread evenly over those that changed, the two masks that changed most."""
    images: dict[int | str, list[InstanceChange]] = {}
    for change in changes:
        if change.iou_with_coarse < 1:
            images.setdefault(change.record.image_id, []).append(change)
    changed = list(images.values())
    picked = np.unique(np.linspace(0, len(changed) - 1, min(max_images, len(changed))).round().astype(int))
    return [most_changed(changed[n], 2) for n in picked]


def draw_sheet(rows: Sequence[Sequence[Example]]) -> PillowImage.Image:
    """The sheet, RGB: a line per row, its examples side by side, each with its caption above its pictures."""
    panels = max(len(pictures) for row in rows for _, pictures in row)
    width, height = panels * (PANEL + _GAP) - _GAP, _CAPTION + PANEL + _MARGIN
    columns = max(map(len, rows)) * (width + 2 * _MARGIN)
    sheet = PillowImage.new("RGB", (columns, _CAPTION + _MARGIN + height * len(rows)), _PAPER)
    _write(sheet, (_MARGIN, _MARGIN // 2), _EXPLAINED, columns - 2 * _MARGIN)
    for number, row in enumerate(rows):
        for column, (caption, pictures) in enumerate(row):
            x, y = _MARGIN + column * (width + 2 * _MARGIN), _CAPTION + _MARGIN + number * height
            _write(sheet, (x, y), caption, width)
            for position, panel in enumerate(pictures):
                sheet.paste(_cell(panel), (x + position * (PANEL + _GAP), y + _CAPTION))
    return sheet


def _cell(panel: Panel) -> PillowImage.Image:
    """The picture in the middle of a square, with its title."""
    cell, (width, height) = PillowImage.new("RGB", (PANEL, PANEL), _PAPER), panel.picture.size
    cell.paste(panel.picture, ((PANEL - width) // 2, (PANEL - height) // 2))
    font, draw = ImageFont.load_default(13), ImageDraw.Draw(cell)
    draw.rectangle((0, 0, font.getbbox(panel.title)[2] + 9, 19), fill=_INK)
    draw.text((5, 2), panel.title, fill=COLOURS.get(panel.title, (255, 255, 255)), font=font)
    return cell


def _caption(change: InstanceChange, class_names: Mapping[int, str]) -> str:
    name = class_names.get(change.coarse.category, f"class {change.coarse.category}")
    scores = f"IoU of both masks {change.iou_with_coarse:.3f}"
    if change.match is not None:
        scores = f"IoU {change.match.iou[0]:.3f} before, {change.match.iou[1]:.3f} after"
    return f"{change.record.path.name}: {name}, score {change.coarse.score:.2f}; {scores}"


def _write(sheet: PillowImage.Image, at: tuple[int, int], text: str, width: int) -> None:
    """One line of text, cut off where it is wider than ``width`` px."""
    font = ImageFont.load_default(15)
    shown = text
    while shown and font.getlength(shown) > width:
        shown = shown.removesuffix("...")[:-1] + "..."
    ImageDraw.Draw(sheet).text((at[0], at[1] + 3), shown, fill=_INK, font=font)
