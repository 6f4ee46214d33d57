"""``python -m bpr.synthetic.rough_labels LABELS ROUGH``: make the outlines in a COCO annotation file rough.

They become what hasty clicks would have given, so that refining them can be measured against the file itself.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from bpr import rle
from bpr.cli.command import add_overwrite, at_least, command_parser, exit_code
from bpr.formats.coco import refined_entry
from bpr.formats.coco_annotations import read_coco_annotations
from bpr.formats.entries import Entry
from bpr.formats.json_arrays import rewrite_items
from bpr.formats.json_fields import read_json
from bpr.formats.polygons import trace
from bpr.formats.prediction_format import Reading
from bpr.formats.protection import Inputs
from bpr.structures import Rle, SettingError, Size

_FEWEST_POINTS: Final = 3


def roughened(
    polygon: Sequence[float], size: Size, tolerance: float, shake: float, rng: np.random.Generator
) -> list[float]:
    """A polygon with fewer vertices, which are not where they should be.

    Args:
        polygon: Flat ``[x, y, x, y, ...]``, px, three vertices or more.
        size: (h, w) of the image, which the vertices stay in.
        tolerance: px by which the thinned outline may be off (Douglas & Peucker, 1973); >= 0.
        shake: Standard deviation of each coordinate of a vertex, px; >= 0.
        rng: Source of the shaking.

    Returns:
        The same, rounded to 0.01 px.
    """
    points = np.asarray(polygon, np.float32).reshape(-1, 2)
    thinned = cv2.approxPolyDP(points[:, None], tolerance, closed=True)[:, 0]
    kept = (thinned if len(thinned) >= _FEWEST_POINTS else points).astype(np.float64)
    shaken = np.clip(kept + rng.normal(0, shake, kept.shape), 0, (size[1], size[0]))
    return shaken.round(2).ravel().tolist()


def write_rough_labels(labels: Path, rough: Path, tolerance: float, shake: float, seed: int = 0) -> tuple[int, float]:
    """Write a COCO annotation file anew with polygons that are `roughened`; ``bbox`` and ``area`` follow.

    Objects that are RLE become polygons. Crowd regions and objects that would vanish stay as they are, byte for byte.

    Args:
        labels: The file to read.
        rough: The file to write.
        tolerance: As of `roughened`, as a share of the square root of the object's area.
        shake: The same.
        seed: Of all chance.

    Returns:
        How many objects became rough, and the mean IoU of their masks with those that were read.

    Raises:
        bpr.formats.errors.FormatError: If ``labels`` is no COCO annotation file.
    """
    annotations, rng = read_json(labels)["annotations"], np.random.default_rng(seed)
    changed: dict[int, Entry] = {}
    ious: list[float] = []
    for entry in read_coco_annotations(labels, Reading()).entries:
        number, before = entry["annotation"], entry["segmentation"]
        annotation, size = annotations[number], (before["size"][0], before["size"][1])
        given = annotation["segmentation"] if isinstance(annotation["segmentation"], list) else trace(before)[0]
        unit = math.sqrt(rle.area(before))
        polygons = [roughened(one, size, tolerance * unit, shake * unit, rng) for one in given]
        after: Rle = rle.from_segmentation(polygons, size)
        if rle.area(after):
            changed[number] = {**refined_entry(annotation, after), "segmentation": polygons}
            ious.append(float(rle.iou([after], [before])[0, 0]))
    rewrite_items(labels, rough, "annotations", changed)
    return len(changed), float(np.mean(ious)) if ious else math.nan


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command_parser("python -m bpr.synthetic.rough_labels", __doc__)
    parser.add_argument("labels", metavar="LABELS", type=Path, help="COCO annotation file")
    parser.add_argument("rough", metavar="ROUGH", type=Path, help="the same, rough")
    share = "as a share of the square root of an object's area"
    parser.add_argument("--tolerance", type=float, default=0.06, help=f"of thinning (default: 0.06), {share}")
    parser.add_argument("--shake", type=float, default=0.04, help=f"of vertices, deviation (default: 0.04), {share}")
    parser.add_argument("--seed", type=at_least(0), default=0)
    add_overwrite(parser)
    chosen = parser.parse_args(arguments)

    def work() -> None:
        if not (0 <= chosen.tolerance < math.inf and 0 <= chosen.shake < math.inf):
            raise SettingError(f"--tolerance and --shake must be at least 0, got {chosen.tolerance} and {chosen.shake}")
        Inputs.of([chosen.labels]).check_file(chosen.rough, chosen.overwrite, "ROUGH")
        count, iou = write_rough_labels(chosen.labels, chosen.rough, chosen.tolerance, chosen.shake, chosen.seed)
        print(f"{chosen.rough}: {count} objects with rough polygons, mean IoU {100 * iou:.1f}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
