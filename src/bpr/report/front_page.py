"""The picture of the README: hand-drawn outlines of the example before and after, large where most changed.

``python -m bpr.report.front_page FILE.png`` draws it with the weights that ship and default settings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from bpr.api.refiner import Refiner
from bpr.cli.command import add_overwrite, command_parser, exit_code
from bpr.drawing import COLOURS, outline, write_png
from bpr.formats.protection import Inputs
from bpr.structures import Image, Mask, SettingError, Window
from bpr.synthetic.example import example_masks, example_photograph

SHOWN: Final = ("astronaut.png", "coffee.png")
INSETS: Final = 3
"""Of a photograph."""
_TITLES: Final = {"coarse": "drawn by hand", "refined": "refined"}
_SIDE = 56  # px of the photograph in an inset
_INSET, _PHOTOGRAPH, _GAP = 196, 398, 6  # px of the picture
_LEAST = 1e-3  # of changed pixels around a point, to be worth an inset
_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_RESAMPLED: Final = PillowImage.Resampling.BICUBIC


class Compared(NamedTuple):
    """A photograph, (h, w, 3) uint8, and its masks, (n, h, w) bool."""

    photograph: Image
    coarse: NDArray[np.bool_]
    refined: NDArray[np.bool_]


def main(arguments: Sequence[str] | None = None) -> int:
    """Refine and draw; 0, or 2 if the file cannot be written or there are no such weights."""
    parser = command_parser("python -m bpr.report.front_page", __doc__)
    parser.add_argument("picture", metavar="FILE.png", type=Path, help="replaced if it is a picture of ours")
    parser.add_argument("--ckpt", default="hrnet18s", help="as of refine.py; default: the weights that ship")
    add_overwrite(parser)
    chosen = parser.parse_args(arguments)

    def work() -> None:
        if chosen.picture.suffix.lower() != ".png":
            raise SettingError(f"{chosen.picture}: the picture is a PNG; let its name end in .png")
        Inputs.of([Path(chosen.ckpt)]).check_file(chosen.picture, chosen.overwrite, "FILE.png")
        refiner = Refiner.from_pretrained(chosen.ckpt)
        picture = draw_front_page([_refined(refiner, name) for name in SHOWN])
        write_png(picture.quantize(256, PillowImage.Quantize.MEDIANCUT), chosen.picture)

    return exit_code(work)


def draw_front_page(compared: Sequence[Compared]) -> PillowImage.Image:
    """A row for each photograph, RGB: it with refined outlines, and beside it the insets before (above) and after."""
    height = _PHOTOGRAPH + _GAP
    width = _PHOTOGRAPH + INSETS * (_GAP + _INSET)
    page = PillowImage.new("RGB", (width, height * len(compared) - _GAP), _PAPER)
    for row, shown in enumerate(compared):
        windows = where_most_changed(np.any(shown.coarse != shown.refined, axis=0), _SIDE, INSETS)
        page.paste(_overview(shown, windows), (0, row * height))
        for column, window in enumerate(windows):
            x = _PHOTOGRAPH + _GAP + column * (_INSET + _GAP)
            for position, title in enumerate(_TITLES):
                inset = _inset(shown, window, column + 1, title)
                page.paste(inset, (x, row * height + position * (_INSET + _GAP)))
    return page


def where_most_changed(changed: Mask, side: int, count: int) -> list[Window]:
    """Up to ``count`` squares inside an image, around where most pixels changed, that do not overlap.

    Args:
        changed: (h, w) bool; both at least ``side``.
        side: Of a square, px, even.
        count: Fewer are found if all that changed is in them.
    """
    near = cv2.GaussianBlur(changed.astype(np.float32), (0, 0), side / 4)
    height, width = changed.shape
    scores = near[side // 2 : height - side // 2 + 1, side // 2 : width - side // 2 + 1]  # by upper left corner
    windows: list[Window] = []
    while len(windows) < count and scores.max() > _LEAST:
        y, x = (int(at) for at in np.unravel_index(int(scores.argmax()), scores.shape))
        windows.append((x, y, x + side, y + side))
        scores[max(y - side + 1, 0) : y + side, max(x - side + 1, 0) : x + side] = 0
    return windows


def _refined(refiner: Refiner, file_name: str) -> Compared:
    photograph, coarse = example_photograph(file_name), example_masks(file_name)
    return Compared(photograph, coarse, refiner(photograph, coarse))


def _overview(shown: Compared, windows: Sequence[Window]) -> PillowImage.Image:
    """The largest square around the objects, with refined outlines and numbered squares where the insets are."""
    x1, y1, x2, y2 = _square(np.any(shown.refined, axis=0))
    view = PillowImage.fromarray(shown.photograph[y1:y2, x1:x2]).resize((_PHOTOGRAPH, _PHOTOGRAPH), _RESAMPLED)
    for mask in shown.refined:
        view = outline(view, mask[y1:y2, x1:x2], COLOURS["refined"])
    draw, zoom = ImageDraw.Draw(view), _PHOTOGRAPH / (x2 - x1)
    for number, window in enumerate(windows, 1):
        left, top, right, bottom = (round(zoom * at) for at in np.subtract(window, (x1, y1, x1, y1)))
        draw.rectangle((left - 1, top - 1, right, bottom), outline=_INK, width=3)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=_PAPER)
        _label(draw, (left, top), str(number), _PAPER)
    return view


def _square(mask: Mask) -> Window:
    """The largest square inside an image, with the middle of what ``mask`` covers as near its own as can be."""
    side = min(mask.shape)
    middle = [int(at.min() + at.max() + 1) // 2 for at in np.nonzero(mask)]
    y, x = (min(max(at - side // 2, 0), whole - side) for at, whole in zip(middle, mask.shape, strict=True))
    return x, y, x + side, y + side


def _inset(shown: Compared, window: Window, number: int, title: str) -> PillowImage.Image:
    """One square, enlarged, with one outline of the object that changed most in it."""
    x1, y1, x2, y2 = window
    coarse, refined = (masks[:, y1:y2, x1:x2] for masks in (shown.coarse, shown.refined))
    most = int((coarse != refined).sum(axis=(1, 2)).argmax())
    view = PillowImage.fromarray(shown.photograph[y1:y2, x1:x2]).resize((_INSET, _INSET), _RESAMPLED)
    view = outline(view, (coarse if title == "coarse" else refined)[most], COLOURS[title])
    _label(ImageDraw.Draw(view), (0, 0), f"{number} {_TITLES[title]}", COLOURS[title])
    return view


def _label(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: tuple[int, int, int]) -> None:
    font = ImageFont.load_default(13)
    draw.rectangle((*at, at[0] + int(font.getlength(text)) + 8, at[1] + 18), fill=_INK)
    draw.text((at[0] + 4, at[1] + 1), text, fill=colour, font=font)


if __name__ == "__main__":
    sys.exit(main())
