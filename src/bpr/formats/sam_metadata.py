"""``metadata.csv``, which SAM's ``amg.py`` writes beside the masks of an image: a row for each, of mask ``ID.png``."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bpr import rle as rle_codec
from bpr.formats.coco import xywh
from bpr.formats.errors import FormatError
from bpr.formats.files import read_text, write_text
from bpr.structures import Rle

NAME: Final = "metadata.csv"
_BOX: Final = ("bbox_x0", "bbox_y0", "bbox_w", "bbox_h")


def read_scores(path: Path) -> dict[str, float]:
    """``predicted_iou`` by the name of the mask; empty where there is no such file, or it has no such column."""
    if not path.is_file():
        return {}
    scores = {}
    for number, row in enumerate(_rows(path), start=2):
        if row.get("id") is not None and row.get("predicted_iou") is not None:
            scores[f"{row['id']}.png"] = _number(path, number, row["predicted_iou"])
    return scores


def write_metadata(path: Path, changed: Mapping[str, Rle], source: Path) -> None:
    """Write the file ``source`` with area and box of the masks that changed, by their names."""
    head, *rows = read_text(source).split("\n")
    names = head.strip().split(",")
    written = [head]
    for row in rows:
        fields = dict(zip(names, row.split(","), strict=False))
        mask = changed.get(f"{fields.get('id')}.png")
        if mask is not None:
            fields |= {"area": str(rle_codec.area(mask))} if "area" in fields else {}
            fields |= {name: f"{v:g}" for name, v in zip(_BOX, xywh(mask), strict=True) if name in fields}
        written.append(row if mask is None else ",".join(fields.values()))
    write_text(path, "\n".join(written))


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(read_text(path).splitlines()))


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(path, f"line {line}", f"predicted_iou must be a finite number, got {text!r:.60}")
    return value
