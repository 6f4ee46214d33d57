"""A demo set as Cityscapes lays out its files.

::

    cityscapes/leftImg8bit/val/demo/demo_000000_000001_leftImg8bit.png
    cityscapes/gtFine/val/demo/demo_000000_000001_gtFine_instanceIds.png
    cityscapes/results/demo_000000_000001_leftImg8bit_pred.txt
    cityscapes/results/masks/demo_000000_000001_leftImg8bit_0.png

The demo's classes borrow the ids of Cityscapes' things: a creature is a person (24), a pebble a car (26), a
ring a bicycle (33). What belongs to no object is terrain (22), a class that evaluation does not ignore.
Names, ids and the layout of results are those of `cityscapesscripts` (``helpers/labels.py``,
``helpers/csHelpers.py``, ``evaluation/evalInstanceLevelSemanticLabeling.py``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bpr import rle
from bpr.synthetic.scene import Scene

CITY = "demo"
LABEL_IDS = {1: 26, 2: 24, 3: 33}
"""Cityscapes label by the demo's category: pebble, creature, ring."""
BACKGROUND = 22
"""Label of what belongs to no object."""


def write_cityscapes(
    folder: Path, results: Path, split: str, picture: bytes, scene: Scene, predictions: Sequence[Mapping[str, Any]]
) -> None:
    """Write one image of a demo set, its ground truth and its predictions.

    Args:
        folder: Of the tree; created if need be.
        results: Folder of the predictions; created if need be.
        split: ``train`` or ``val``.
        picture: The image as a PNG file.
        scene: Its objects.
        predictions: Its entries of a COCO results file, not empty; they name the image's number.
    """
    stem = f"{CITY}_000000_{predictions[0]['image_id']:06d}"
    images, truths = folder / "leftImg8bit" / split / CITY, folder / "gtFine" / split / CITY
    for needed in (images, truths, results / "masks"):
        needed.mkdir(parents=True, exist_ok=True)
    (images / f"{stem}_leftImg8bit.png").write_bytes(picture)
    _write_png(truths / f"{stem}_gtFine_instanceIds.png", instance_ids(scene))
    lines = []
    for number, entry in enumerate(predictions):
        name = f"masks/{stem}_leftImg8bit_{number}.png"
        _write_png(results / name, 255 * rle.decode(entry["segmentation"]).astype(np.uint8))
        lines.append(f"{name} {LABEL_IDS[entry['category_id']]} {entry['score']}\n")
    (results / f"{stem}_leftImg8bit_pred.txt").write_text("".join(lines), encoding="utf-8")


def instance_ids(scene: Scene) -> NDArray[np.uint16]:
    """(h, w) uint16: ``1000 * label + k`` in the k-th object of a class, from 0, and `BACKGROUND` elsewhere."""
    ids = np.full(scene.image.shape[:2], BACKGROUND, np.uint16)
    for position, (mask, category) in enumerate(zip(scene.masks, scene.categories, strict=True)):
        ids[mask] = 1000 * LABEL_IDS[category] + scene.categories[:position].count(category)
    return ids


def _write_png(path: Path, image: NDArray[Any]) -> None:
    encoded, content = cv2.imencode(".png", image)
    assert encoded
    path.write_bytes(content.tobytes())
