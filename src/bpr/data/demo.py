"""The embedded demo: small COCO-style data sets with exact masks, made on this machine at first use.

Nothing is downloaded. The pictures are composited from photographs that every scikit-image wheel holds, all
public domain or CC0, according to the documentation of `skimage.data`:

===================  ========================================  ==========================================
photograph           by                                        licence
===================  ========================================  ==========================================
`astronaut`          NASA                                      public domain
`brick`              CC0Textures (Bricks25)                    CC0
`chelsea`            Stefan van der Walt                       CC0
`coffee`             Rachel Michetti, Pikolo Espresso Bar      CC0
`grass`              linolafett, DeviantArt                    CC0
`gravel`             CC0Textures (Gravel04)                    CC0
`hubble_deep_field`  NASA, ESA                                 public domain
`retina`             Mikael Häggström                          CC0
`rocket`             SpaceX                                    public domain
===================  ========================================  ==========================================
"""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from bpr import rle
from bpr.data.demo_scene import Scene, compose_scene
from bpr.data.demo_shapes import SHAPES
from bpr.data.simulate import simulate_coarse
from bpr.formats.coco import write_results
from bpr.structures import Image, Mask, Size

Split = Literal["train", "val"]

VERSION = 1
"""Raised with every change of what is generated, so that older sets are made anew."""
COUNTS: dict[Split, int] = {"train": 16, "val": 8}
"""Number of pictures."""

_SEEDS: dict[Split, int] = {"train": 1, "val": 2}
_SIZES: tuple[Size, ...] = ((480, 640), (427, 640), (640, 480), (512, 512), (360, 640), (600, 450))
_BACKGROUNDS = ("coffee", "grass", "rocket", "brick", "chelsea", "astronaut", "gravel", "hubble_deep_field")
_TEXTURES = ("coffee", "grass", "gravel", "retina", "brick")
_PARTS: dict[str, slice | tuple[slice, slice]] = {
    "astronaut": np.s_[190:],  # without the face: nothing is to be put on it
    "retina": np.s_[350:1060, 350:1060],  # without the black frame
}
_NAMES = ("images", "instances.json", "coarse.json", "complete.json")


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Where a demo set is: the folder of images, COCO annotations, and COCO results with coarse masks."""

    images: Path
    annotations: Path
    predictions: Path


def make_demo(root: str | Path, split: Split = "val") -> DemoFiles:
    """Make the demo set ``root/split``, unless it is there already.

    With the same versions of the libraries, the files are the same byte for byte each time. The set is built
    in a hidden folder of ``root`` and renamed at the end; several processes may do so at the same time. A set
    that is incomplete, or of another version, is replaced.

    Args:
        root: Folder for the sets; created if need be.
        split: ``train`` (16 images) or ``val`` (8 others).

    Raises:
        ModuleNotFoundError: If scikit-image is not installed.
        FileExistsError: If ``root/split`` has files that are not the demo's; they are left alone.
        ValueError: If there is no such split.
    """
    if split not in COUNTS:
        raise ValueError(f"split must be one of {sorted(COUNTS)}, got {split!r}")
    folder = Path(root) / split
    files = DemoFiles(folder / "images", folder / "instances.json", folder / "coarse.json")
    if _is_complete(folder, split):
        return files
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(_NAMES)):
        raise FileExistsError(f"{folder} is no demo set of bpr; move it away, or choose another folder")
    Path(root).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{split}-", dir=root) as unfinished:
        built, replaced = Path(unfinished) / "built", Path(unfinished) / "replaced"
        _build(built, split)
        if not _is_complete(folder, split):
            with contextlib.suppress(FileNotFoundError):  # nothing to replace
                os.rename(folder, replaced)
            _take_place(built, folder, split)
    return files


def _is_complete(folder: Path, split: Split) -> bool:
    try:
        stamp = json.loads((folder / "complete.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or cut off: then the set is made anew
        return False
    if stamp != {"version": VERSION} or not all((folder / name).exists() for name in _NAMES):
        return False
    return len(list((folder / "images").glob("*.png"))) == COUNTS[split]


def _take_place(built: Path, folder: Path, split: Split) -> None:
    try:
        os.rename(built, folder)
    except OSError:
        if not _is_complete(folder, split):  # else another process was faster, with the same files
            raise


def _build(folder: Path, split: Split) -> None:
    (folder / "images").mkdir(parents=True)
    photographs = _photographs()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for number in range(COUNTS[split]):
        rng = np.random.default_rng([_SEEDS[split], number])
        size = _SIZES[number % len(_SIZES)]
        background = photographs[_BACKGROUNDS[number % len(_BACKGROUNDS)]]
        textures = [photographs[name] for name in _TEXTURES]
        scene = compose_scene(background, textures, size, int(rng.integers(6, 10)), rng)
        name = f"{split}_{number + 1:02d}.png"
        _write_png(folder / "images" / name, scene.image)
        images.append({"id": number + 1, "file_name": name, "height": size[0], "width": size[1]})
        annotations += _annotated(scene, number + 1, len(annotations) + 1)
        predictions += _predicted(scene, number + 1, rng)
    categories = [{"id": category, "name": name} for category, (name, _) in SHAPES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    write_results(folder / "coarse.json", predictions)
    (folder / "complete.json").write_text(json.dumps({"version": VERSION}), encoding="utf-8")


def _photographs() -> dict[str, Image]:
    try:
        import skimage.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the demo is made from photographs of scikit-image; install it: pip install scikit-image",
            name=error.name,
        ) from error
    photographs = {}
    for name in dict.fromkeys(_BACKGROUNDS + _TEXTURES):
        photograph = np.asarray(getattr(skimage.data, name)(), np.uint8)
        grey = photograph.ndim == 2
        photographs[name] = np.repeat(photograph[..., None], 3, axis=2) if grey else photograph
    return {name: photograph[_PARTS.get(name, slice(None))] for name, photograph in photographs.items()}


def _write_png(path: Path, image: Image) -> None:
    encoded, content = cv2.imencode(".png", image[..., ::-1])
    assert encoded
    path.write_bytes(content.tobytes())


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
        coarse = simulate_coarse(mask, everything & ~mask, rng)
        score = 0.25 + 0.7 * float((coarse & mask).sum() / (coarse | mask).sum()) + rng.normal(0, 0.05)
        found.append((float(np.clip(score, 0.05, 0.99)), category, coarse))
    _, category, again = found[int(rng.integers(len(found)))]
    found.append((rng.uniform(0.05, 0.3), category, simulate_coarse(again, everything & ~again, rng)))
    centre = rng.uniform(0.1, 0.9, 2) * scene.image.shape[1::-1]
    mistake = np.zeros(everything.shape, np.uint8)
    axes = (int(rng.integers(12, 40)), int(rng.integers(12, 40)))
    cv2.ellipse(mistake, (int(centre[0]), int(centre[1])), axes, rng.uniform(0, 180), 0, 360, 1, -1)
    false_positive = simulate_coarse(mistake.view(np.bool_), everything, rng)
    found.append((rng.uniform(0.05, 0.2), int(rng.integers(1, len(SHAPES) + 1)), false_positive))
    found.sort(key=lambda prediction: -prediction[0])
    return [
        {"image_id": image_id, "category_id": category, **_mask_fields(mask), "score": round(score, 4)}
        for score, category, mask in found
    ]


def _mask_fields(mask: Mask) -> dict[str, Any]:
    encoded = rle.encode(mask)
    x1, y1, x2, y2 = rle.bounding_box(encoded)
    return {"bbox": [float(v) for v in (x1, y1, x2 - x1, y2 - y1)], "segmentation": encoded}
