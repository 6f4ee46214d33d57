"""One row of a YOLO segmentation label: ``CLASS X1 Y1 X2 Y2 ... [CONFIDENCE]``, coordinates relative to the image."""

from codecs import BOM_UTF8
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np

from bpr import rle as rle_codec
from bpr.formats.errors import FormatError, Reason
from bpr.structures import Rle, Size

_BOX: Final = 4
_LAST_CLASS: Final = 2**31 - 1
_TOLERANCE: Final = 0.01
"""By which coordinates may lie outside of the image, as a part of its size; Ultralytics allows the same."""
_DECIMALS: Final = 7
"""Of what is written: exact to 0.005 px in images of up to 100,000 px."""
_PX_DECIMALS: Final = 2
"""To which coordinates in px are rounded, so that corners on half pixels are exactly there again."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A row.

    Attributes:
        place: The file that it is in, and where in it.
        line: Its bytes, with the line break.
        category: Class, from 0 on.
        coordinates: Of a polygon, x and y in turn, relative to the size of the image; none of a box.
        confidence: 1 if there is none.
    """

    place: str
    line: bytes
    category: int
    coordinates: tuple[float, ...]
    confidence: float

    @classmethod
    def parse(cls, path: Path, number: int, line: bytes) -> Self:
        """Line ``number`` of a file, from 1 on; `FormatError` if it is wrong."""
        text, place = line.removeprefix(BOM_UTF8), f"{path}, line {number}"
        try:
            category, *values = (float(part) for part in text.split())
        except ValueError as error:
            problem = f"expected 'CLASS X1 Y1 X2 Y2 ...', got {text.decode(errors='replace').strip()!r:.60}"
            raise FormatError(place, None, problem) from error
        if not 0 <= category <= _LAST_CLASS or not category.is_integer():
            problem = f"the class must be a whole number from 0 to {_LAST_CLASS}, got {category:g}"
            raise FormatError(place, None, problem, Reason.field)
        if len(values) < _BOX:
            raise FormatError(place, None, f"expected a class and at least {_BOX} numbers, got {len(values)}")
        outside = [value for value in values if not -_TOLERANCE <= value <= 1 + _TOLERANCE]
        if outside:
            problem = f"{outside[0]:g} is outside of 0 to 1, where coordinates relative to the image and scores are"
            raise FormatError(place, None, f"{problem}; divide px by its size, and leave out ids of tracks")
        confidence = values.pop() if len(values) % 2 else 1.0
        return cls(place, line, int(category), () if len(values) == _BOX else tuple(values), confidence)

    def draw(self, size: Size) -> Rle:
        """The mask in an image of ``size`` (h, w); `FormatError` if it is none."""
        corners = np.reshape(self.coordinates, (-1, 2)) * (size[1], size[0])
        try:
            return rle_codec.from_segmentation([corners.round(_PX_DECIMALS).ravel().tolist()], size)
        except ValueError as error:
            raise FormatError(self.place, None, str(error)) from error

    def with_polygon(self, polygon: list[float], size: Size) -> Self:
        """The row with another polygon, flat ``[x, y, x, y, ...]``, px, in an image of ``size`` (h, w)."""
        relative = (np.reshape(polygon, (-1, 2)) / size[::-1]).round(_DECIMALS).ravel().tolist()
        category, *others = self.line.split()
        numbers = [f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".").encode() for value in relative]
        ending = self.line[len(self.line.rstrip(b"\r\n")) :]
        line = b" ".join([category, *numbers, *others[len(self.coordinates) :]]) + ending
        return replace(self, line=line, coordinates=tuple(relative))
