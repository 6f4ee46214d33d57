"""Before and after as a picture: crops of instances with the outline of each mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter, ImageFont
from PIL.PngImagePlugin import PngInfo

from bpr import rle
from bpr.data.images import read_image
from bpr.formats.coco import Annotations, result_rle
from bpr.formats.entries import Entry
from bpr.formats.files import replacing
from bpr.matching import best_truths
from bpr.structures import Image, ImageRecord, Mask, Rle, Size, Window

PANEL: Final = 208
"""Side of a crop on the sheet, px."""
SMALLEST_CROP: Final = 48
"""Side of a crop in its image, px, at least."""
MIN_IOU: Final = 0.3
"""A coarse mask is shown beside the object of its class that it overlaps most, if by this much."""

_GAP, _CAPTION, _MARGIN = 4, 26, 12
_PAPER, _INK, _EMPTY = (250, 250, 250), (20, 20, 20), (205, 205, 205)
_COARSE, _REFINED, _TRUE = (255, 95, 60), (60, 235, 120), (255, 225, 60)
_EXPLAINED = "Of each image, the two predictions whose masks changed most (share of pixels times score)."


@dataclass(frozen=True, slots=True)
class Example:
    """One instance, before and after.

    Attributes:
        image: (h, w, 3) uint8 RGB, the crop.
        coarse: (h, w) bool.
        refined: (h, w) bool.
        true: (h, w) bool, or None where no object is known.
        caption: One line.
    """

    image: Image
    coarse: Mask
    refined: Mask
    true: Mask | None
    caption: str


def draw_sheet(rows: Sequence[Sequence[Example]]) -> Image:
    """The sheet: a line per row, its examples side by side; of each the image and the outline of every mask.

    Args:
        rows: At least one example. Ground truth gets a column if any example has it.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: If there is no example.
    """
    if not any(rows):
        raise ValueError("a sheet needs at least one example")
    panels = 4 if any(example.true is not None for row in rows for example in row) else 3
    example_width = panels * (PANEL + _GAP) - _GAP
    columns, line = max(len(row) for row in rows), _CAPTION + PANEL + _MARGIN
    width = columns * (example_width + 2 * _MARGIN)
    sheet = PillowImage.new("RGB", (width, _CAPTION + _MARGIN + line * len(rows)), _PAPER)
    _write(sheet, (_MARGIN, _MARGIN // 2), _EXPLAINED, width - 2 * _MARGIN)
    for number, row in enumerate(rows):
        for column, example in enumerate(row):
            x, y = _MARGIN + column * (example_width + 2 * _MARGIN), _CAPTION + _MARGIN + number * line
            _write(sheet, (x, y), example.caption, example_width)
            for position, panel in enumerate(_panels(example, panels == 4)):
                sheet.paste(panel, (x + position * (PANEL + _GAP), y + _CAPTION))
    return np.asarray(sheet)


def crop_window(boxes: Sequence[Window], size: Size) -> Window:
    """A square around all boxes with a margin of a sixth, moved into the image and cut off where it is larger.

    Args:
        boxes: ``x1, y1, x2, y2``, at least one.
        size: (h, w) of the image, px.
    """
    x1, y1 = (min(box[axis] for box in boxes) for axis in (0, 1))
    x2, y2 = (max(box[axis] for box in boxes) for axis in (2, 3))
    side = max(SMALLEST_CROP, round(max(x2 - x1, y2 - y1) * 4 / 3))
    left = max(0, min((x1 + x2 - side) // 2, size[1] - side))
    top = max(0, min((y1 + y2 - side) // 2, size[0] - side))
    return left, top, min(left + side, size[1]), min(top + side, size[0])


def write_contact_sheet(
    path: Path,
    records: Sequence[ImageRecord],
    refined: tuple[Path, Sequence[Entry]],
    annotations: Annotations | None = None,
    max_images: int = 8,
) -> int:
    """Write a sheet of the instances that changed, two of an image, as a PNG file.

    Args:
        path: The file; replaced if it exists. Not written if no mask changed.
        records: Images with their coarse masks.
        refined: The results file with the refined ones, and its entries.
        annotations: Ground truth and the names of classes, where known.
        max_images: So many of the images in which something changed, evenly spread over them.

    Returns:
        The number of examples.

    Raises:
        bpr.formats.errors.FormatError: If an image or a mask cannot be read.
    """
    changed = [
        record
        for record in records
        if any(i.rle != _refined_rle(refined, i.position, record) for i in record.instances)
    ]
    picked = np.unique(np.linspace(0, len(changed) - 1, min(max_images, len(changed))).round().astype(int))
    rows = [_examples(changed[number], refined, annotations) for number in picked]
    if rows:
        with replacing(path) as unfinished:
            made_by = PngInfo()
            made_by.add_text("Software", "bpr")  # how `bpr.formats.outputs` knows it
            PillowImage.fromarray(draw_sheet(rows)).save(unfinished, format="PNG", optimize=True, pnginfo=made_by)
    return sum(len(row) for row in rows)


def _examples(
    record: ImageRecord, refined: tuple[Path, Sequence[Entry]], annotations: Annotations | None, count: int = 2
) -> list[Example]:
    after = [_refined_rle(refined, instance.position, record) for instance in record.instances]
    changes = [
        instance.score * (1 - rle.iou([instance.rle], [mask])[0, 0])
        for instance, mask in zip(record.instances, after, strict=True)
    ]
    order = [number for number in np.argsort(changes)[::-1][:count] if changes[number] > 0]
    truths = annotations.images[record.image_id].truths if annotations else ()
    known = {m.predicted: truths[m.true].rle for m in best_truths(record.instances, truths) if m.iou >= MIN_IOU}
    image = read_image(record.path, record.size, record.exif)
    examples = []
    for number in order:
        instance, true = record.instances[number], known.get(int(number))
        masks = [instance.rle, after[number], *([true] if true else [])]
        window = crop_window([rle.bounding_box(mask) for mask in masks], record.size)
        x1, y1, x2, y2 = window
        coarse, finer, *rest = (rle.decode(mask, window) for mask in masks)
        name = annotations.categories.get(instance.category) if annotations else None
        what = f"{record.path.name}: {name or f'class {instance.category}'}, score {instance.score:.2f}"
        caption = f"{what}; {_change(instance.rle, after[number], true)}"
        examples.append(Example(image[y1:y2, x1:x2], coarse, finer, rest[0] if rest else None, caption))
    return examples


def _refined_rle(refined: tuple[Path, Sequence[Entry]], position: int, record: ImageRecord) -> Rle:
    path, entries = refined
    return result_rle(path, position, entries[position], record.size)


def _change(coarse: Rle, refined: Rle, true: Rle | None) -> str:
    if true is None:
        return f"IoU of both masks {rle.iou([coarse], [refined])[0, 0]:.3f}"
    before, after = rle.iou([coarse, refined], [true])[:, 0]
    return f"IoU {before:.3f} before, {after:.3f} after"


def _panels(example: Example, with_truth: bool) -> list[PillowImage.Image]:
    panels = [_labelled(_framed(example.image), "image", None)]
    for title, mask, colour in (("coarse", example.coarse, _COARSE), ("refined", example.refined, _REFINED)):
        panels.append(_labelled(_outlined(example.image, mask, colour), title, colour))
    if with_truth and example.true is not None:
        panels.append(_labelled(_outlined(example.image, example.true, _TRUE), "ground truth", _TRUE))
    elif with_truth:
        panels.append(_labelled(PillowImage.new("RGB", (PANEL, PANEL), _EMPTY), "no ground truth", None))
    return panels


def _framed(image: Image) -> PillowImage.Image:
    """The crop as large as a panel allows, in its middle."""
    picture = PillowImage.fromarray(image)
    scaled = picture.resize(_scaled_size(image.shape), PillowImage.Resampling.BICUBIC)
    panel = PillowImage.new("RGB", (PANEL, PANEL), _EMPTY)
    panel.paste(scaled, ((PANEL - scaled.width) // 2, (PANEL - scaled.height) // 2))
    return panel


def _outlined(image: Image, mask: Mask, colour: tuple[int, int, int]) -> PillowImage.Image:
    """The same with a line of 2 px just inside the mask's edge, and a dark one just outside."""
    panel = _framed(image)
    scaled = PillowImage.fromarray(mask).convert("L").resize(_scaled_size(mask.shape), PillowImage.Resampling.NEAREST)
    body = np.asarray(scaled) > 0
    line = body & (np.asarray(scaled.filter(ImageFilter.MinFilter(5))) == 0)
    halo = ~body & (np.asarray(scaled.filter(ImageFilter.MaxFilter(3))) > 0)
    corner = ((PANEL - scaled.width) // 2, (PANEL - scaled.height) // 2)
    panel.paste(_INK, corner, PillowImage.fromarray(halo))
    panel.paste(colour, corner, PillowImage.fromarray(line))
    return panel


def _scaled_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(w, h) of a crop of ``shape`` (h, w, ...) whose longer side fills a panel."""
    scale = PANEL / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _labelled(panel: PillowImage.Image, title: str, colour: tuple[int, int, int] | None) -> PillowImage.Image:
    font = ImageFont.load_default(13)
    draw = ImageDraw.Draw(panel)
    draw.rectangle((0, 0, font.getbbox(title)[2] + 9, 19), fill=_INK)
    draw.text((5, 2), title, fill=colour or (255, 255, 255), font=font)
    return panel


def _write(sheet: PillowImage.Image, at: tuple[int, int], text: str, width: int) -> None:
    """One line of text, cut off where it is wider than ``width`` px."""
    font = ImageFont.load_default(15)
    shown = text
    while shown and font.getlength(shown) > width:
        shown = shown[:-4] + "..." if shown.endswith("...") else shown[:-1] + "..."
    ImageDraw.Draw(sheet).text((at[0], at[1] + 3), shown, fill=_INK, font=font)
