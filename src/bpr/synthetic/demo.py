"""The embedded demo: small COCO data sets with exact masks, made on this machine at first use.

The pictures are composited from `bpr.synthetic.photographs`; nothing is downloaded.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image as PillowImage

from bpr import rle
from bpr.formats.coco import write_results, xywh
from bpr.structures import Image, Mask, Size
from bpr.synthetic.coarse_masks import SimulationSpec, simulate_coarse
from bpr.synthetic.made_sets import MadeSet, make_set
from bpr.synthetic.photographs import photograph
from bpr.synthetic.scene import Scene, compose_scene
from bpr.synthetic.shapes import SHAPES

Split = Literal["train", "val", "large"]

VERSION = 4
"""Raised with every change of what is generated, so that older sets are made anew."""
COUNTS: dict[Split, int] = {"train": 16, "val": 8, "large": 4}
"""Number of pictures; those of ``large`` have 2048 x 1024 px."""

_SEEDS: dict[Split, int] = {"train": 1, "val": 2, "large": 3}
_SIZES: tuple[Size, ...] = ((480, 640), (427, 640), (640, 480), (512, 512), (360, 640), (600, 450))
_LARGE: Size = (1024, 2048)
_BACKGROUNDS = ("coffee", "grass", "rocket", "brick", "chelsea", "astronaut", "gravel", "hubble_deep_field")
_TEXTURES = ("coffee", "grass", "gravel", "retina", "brick")
_SEGMENTER = SimulationSpec(
    box_head=0.45,
    prototypes=0.55,
    displacement=0.9,
    offset=0.5,
    thin_parts=0.1,
    missing_part=0.1,
    extra_part=0.1,
    spill=0.15,
)
_PARTS: dict[str, slice | tuple[slice, slice]] = {
    "astronaut": np.s_[190:],  # without the face: nothing is to be put on it
    "retina": np.s_[350:1060, 350:1060],  # without the black frame
}


def make_demo(root: str | Path, split: Split = "val") -> MadeSet:
    """Make the demo set ``root/split`` (``train``, ``val``, ``large``), unless it is there already, as `make_set` does.

    With the same versions of the libraries, the files are the same byte for byte each time.

    Raises:
        FileExistsError: If ``root/split`` has files that are not the demo's; they are left alone.
        ValueError: If there is no such split.
    """
    if split not in COUNTS:
        raise ValueError(f"split must be one of {sorted(COUNTS)}, got {split!r}")
    return make_set(Path(root) / split, VERSION, partial(_build, split))


def _build(split: Split, files: MadeSet) -> None:
    photographs = _photographs()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for number in range(1, COUNTS[split] + 1):
        rng = np.random.default_rng([_SEEDS[split], number - 1])
        scene = _compose(photographs, split, number - 1, rng)
        name = f"{split}_{number:02d}.png"
        PillowImage.fromarray(scene.image).save(files.images / name, compress_level=1)
        height, width = scene.image.shape[:2]
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        annotations += _annotated(scene, number, len(annotations) + 1)
        predictions += _predicted(scene, number, rng)
    categories = [{"id": category, "name": name} for category, (name, _) in SHAPES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    files.annotations.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    write_results(files.predictions, predictions)


def _compose(photographs: dict[str, Image], split: Split, number: int, rng: np.random.Generator) -> Scene:
    """A scene on the ``number``-th background; its objects are cut from other photographs."""
    background = _BACKGROUNDS[number % len(_BACKGROUNDS)]
    textures = [photographs[name] for name in _TEXTURES if name != background]
    size, most = (_LARGE, 40) if split == "large" else (_SIZES[number % len(_SIZES)], 12)
    return compose_scene(photographs[background], textures, size, int(rng.integers(most - 5, most)), rng)


def _photographs() -> dict[str, Image]:
    names = dict.fromkeys(_BACKGROUNDS + _TEXTURES)
    return {name: photograph(name)[_PARTS.get(name, slice(None))] for name in names}


def _annotated(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    annotations = []
    for offset, (mask, category) in enumerate(zip(scene.masks, scene.categories, strict=True)):
        entry = {"id": first_id + offset, "image_id": image_id, "category_id": category, "iscrowd": 0}
        annotations.append({**entry, **_mask_fields(mask), "area": int(mask.sum())})
    return annotations


def _predicted(scene: Scene, image_id: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Coarse masks by falling score: one per object, one duplicate, and one where there is little to see."""
    everything = np.any(scene.masks, axis=0)
    found: list[tuple[float, int, Mask]] = []
    for mask, category in zip(scene.masks, scene.categories, strict=True):
        coarse = _coarse(mask, everything & ~mask, rng)
        overlap = float((coarse & mask).sum() / (coarse | mask).sum())
        score = 0.45 + 0.4 * overlap + rng.normal(0, 0.1)  # a detector knows little of its mask's IoU
        found.append((float(np.clip(score, 0.05, 0.99)), category, coarse))
    _, category, again = found[int(rng.integers(len(found)))]
    found.append((rng.uniform(0.05, 0.3), category, _coarse(again, everything & ~again, rng)))
    centre = rng.uniform(0.1, 0.9, 2) * scene.image.shape[1::-1]
    mistake = np.zeros(everything.shape, np.uint8)
    axes = (int(rng.integers(12, 40)), int(rng.integers(12, 40)))
    cv2.ellipse(mistake, (int(centre[0]), int(centre[1])), axes, rng.uniform(0, 180), 0, 360, 1, -1)
    false_positive = _coarse(mistake.view(np.bool_), everything, rng)
    found.append((rng.uniform(0.05, 0.2), int(rng.integers(1, len(SHAPES) + 1)), false_positive))
    found.sort(key=lambda prediction: -prediction[0])
    return [
        {"image_id": image_id, "category_id": category, **_mask_fields(mask), "score": round(score, 4)}
        for score, category, mask in found
    ]


def _coarse(mask: Mask, others: Mask, rng: np.random.Generator) -> Mask:
    """The mask as a one-stage segmenter at 640 px gives it: blunt corners and wobble, seldom a wrong part.

    Its errors are of a few px, smaller on small objects.
    """
    severity = float(np.clip(np.sqrt(mask.sum()) / 100, 0.3, 1.3))
    return simulate_coarse(mask, others, rng, replace(_SEGMENTER, severity=severity))


def _mask_fields(mask: Mask) -> dict[str, Any]:
    encoded = rle.encode(mask)
    return {"bbox": xywh(encoded), "segmentation": encoded}
