"""Results files of a segmenter that does not exist: simulated coarse masks of annotated objects, made once."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from bpr import rle
from bpr.formats import coco
from bpr.formats.annotations import Annotations
from bpr.formats.entries import Entry
from bpr.synthetic.coarse_masks import SimulationSpec, simulate_coarse

LAYOUT: Final = "simulated-2"
"""Part of the file's name: changed whenever the same annotations would give other masks."""


def simulated_results(
    annotations: Annotations, cache: Path, masks_per_object: int, spec: SimulationSpec, seed: int
) -> Path:
    """A COCO results file with simulated coarse masks of every annotated object, from ``cache`` if it is there.

    Args:
        annotations: The ground truth; crowd regions and objects without a pixel get no masks.
        cache: Folder; made if missing. The file's name is a digest of all that determines its content.
        masks_per_object: Masks of each object, >= 1, each with errors of its own.
        spec: Which errors, and how often.
        seed: Of all chance, together with the place of the image in the file: each image has its own.
    """
    path = cache / f"simulated-{_digest(annotations, masks_per_object, spec, seed)}.json"
    if not path.exists():
        coco.write_results(path, _simulate_all(annotations, masks_per_object, spec, seed))
    return path


def _simulate_all(annotations: Annotations, masks_per_object: int, spec: SimulationSpec, seed: int) -> Iterator[Entry]:
    images = tqdm(annotations.images.items(), desc="simulating coarse masks", unit="image", leave=False)
    for number, (image_id, image) in enumerate(images):
        rng = np.random.default_rng((seed, number))
        masks = [rle.decode(truth.rle) for truth in image.truths]
        cover = sum((mask.astype(np.int32) for mask in masks), start=np.zeros(image.size, np.int32))
        for truth, mask in zip(image.truths, masks, strict=True):
            if truth.crowd or not mask.any():
                continue
            others = (cover - mask) > 0
            for _ in range(masks_per_object):
                coarse = rle.encode(simulate_coarse(mask, others, rng, spec))
                yield coco.new_entry(image_id, truth.category, coarse, 1.0)


def _digest(annotations: Annotations, masks_per_object: int, spec: SimulationSpec, seed: int) -> str:
    """32 hexadecimal digits that change with anything that changes the masks."""
    state = hashlib.blake2b(digest_size=16)
    state.update(json.dumps([LAYOUT, masks_per_object, asdict(spec), seed]).encode())
    for image_id, image in annotations.images.items():
        state.update(json.dumps([image_id, image.size]).encode())
        for truth in image.truths:
            state.update(f"\n{truth.category} {truth.crowd} {truth.rle['counts']}".encode())
    return state.hexdigest()
