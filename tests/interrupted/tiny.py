"""A data set of two images, and stand-ins for networks: whatever is interrupted takes no time itself."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bpr import rle
from bpr.models.refiner import PatchRefiner


class Shifting(torch.nn.Module):
    """Stands in for a network that predicts."""

    config: dict[str, int] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))


class ShiftingRefiner(PatchRefiner):
    """Moves each mask by a pixel."""

    def start_patches(self, images: torch.Tensor, coarse: torch.Tensor) -> Callable[[], torch.Tensor]:
        return coarse.roll(1, 2).float


class TinyNetwork(torch.nn.Module):
    """Stands in for a network that is trained: one layer with a batch norm."""

    config: dict[str, object] = {"input_size": 32}  # noqa: RUF012
    trust = False

    def __init__(self, **unused: object) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 3, padding=1), torch.nn.BatchNorm2d(2))

    def forward(self, images: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([images / 255, coarse[:, None]], 1))

    def foreground_probability(self, images: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        return self(images, coarse).softmax(1)[:, 1]


def write_tiny_set(folder: Path, count: int = 3) -> None:
    """``images``, ``instances.json``, ``coarse.json`` and a folder ``masks`` of label images: a disc in each image."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rng, images, annotations, results = np.random.default_rng(0), [], [], []
    ys, xs = np.mgrid[:48, :56]
    for number in range(count):
        true, coarse = ((xs - 26 - number - off) ** 2 + (ys - 24) ** 2 < 15**2 for off in (0, 2))
        pixels = rng.integers(0, 100, (48, 56, 3), dtype=np.uint8) + 150 * true[..., None].astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(coarse.astype(np.uint8)).save(folder / "masks" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 56})
        shared = {"image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1]}
        code = rle.encode(true)
        annotations.append({**shared, "id": number + 1, "segmentation": code, "area": rle.area(code), "iscrowd": 0})
        results.append({**shared, "score": 0.9, "segmentation": rle.encode(coarse)})
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
    (folder / "instances.json").write_text(json.dumps(truth))
    (folder / "coarse.json").write_text(json.dumps(results))
    (folder / "stand-in.safetensors").write_bytes(b"")
