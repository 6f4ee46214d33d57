"""Generated images and predictions to measure on: nothing is downloaded."""

import itertools
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from PIL import Image as PillowImage

from bpr import rle
from bpr.formats.coco import new_entry, open_results, write_results
from bpr.structures import Image, Mask, Size
from bpr.synthetic.shapes import SHAPES


class Workload(NamedTuple):
    """Files to refine: a folder of images and a file or folder of predictions; ``name`` is for people.

    ``annotations`` name the images where these are not named by their ids.
    """

    name: str
    images: Path
    predictions: Path
    annotations: Path | None = None


SCENES: Final = (((480, 640), 10, 12), ((1024, 2048), 30, 2))
"""The default workloads, of COCO's and Cityscapes' usual sizes, as `generate` takes them."""


def generate(folder: Path, size: Size, instances: int, images_in_all: int) -> Workload:
    """Write images of smooth noise, ``size`` (h, w) px, with irregular outlines on them, as JPEG and COCO results.

    The same arguments give the same files.
    """
    height, width = size
    name = f"{width} x {height}, {instances} instances"
    images = folder / f"{width}x{height}" / "images"
    images.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(images_in_all):
        rng = np.random.default_rng((0, height, number))
        PillowImage.fromarray(_texture(size, rng)).save(images / f"{number}.jpg", quality=90)
        for _ in range(instances):
            code = rle.encode(_outline(size, rng))
            entries.append(new_entry(number, 1, code, float(rng.uniform(0.3, 1))))
    predictions = images.parent / "predictions.json"
    write_results(predictions, entries)
    return Workload(name, images, predictions)


def first_images(workload: Workload, count: int, folder: Path) -> Workload:
    """A COCO workload of the first ``count`` images, written to ``folder``."""
    entries = open_results(workload.predictions)
    chosen = set(itertools.islice(dict.fromkeys(entry["image_id"] for entry in entries), count))
    predictions = folder / "first.json"
    write_results(predictions, (entry for entry in entries if entry["image_id"] in chosen))
    return Workload(f"{workload.name}, first {len(chosen)} images", workload.images, predictions)


def _texture(size: Size, rng: np.random.Generator) -> Image:
    coarse = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.asarray(np.clip(smooth + rng.integers(-20, 21, (*size, 3)), 0, 255), np.uint8)


def _outline(size: Size, rng: np.random.Generator) -> Mask:
    """One of the demo's silhouettes, of a side from a twelfth to a half of the image's height."""
    _, silhouette = SHAPES[sorted(SHAPES)[rng.integers(len(SHAPES))]]
    shape = silhouette(size[0] * rng.uniform(1 / 12, 1 / 2), rng) > 0.5
    mask = np.zeros(size, np.bool_)
    y, x = int(rng.integers(0, size[0] - shape.shape[0] + 1)), int(rng.integers(0, size[1] - shape.shape[1] + 1))
    mask[y : y + shape.shape[0], x : x + shape.shape[1]] = shape
    return mask
