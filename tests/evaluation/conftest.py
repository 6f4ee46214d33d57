"""Generated scenes: annotated images and predictions of them, as files and as values."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpr import rle as rle_codec
from bpr.structures import Mask


@dataclass(frozen=True)
class Files:
    """A COCO annotation file and a results file."""

    annotations: Path
    results: Path

    def change_annotations(self, change: Callable[[Any], None]) -> None:
        _change(self.annotations, change)

    def change_results(self, change: Callable[[Any], None]) -> None:
        _change(self.results, change)


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[..., Files]:
    """A function that writes a generated scene of ``images`` images, from a seed."""

    def make(seed: int = 0, images: int = 6) -> Files:
        annotations, results = scene(np.random.default_rng(seed), images)
        files = Files(tmp_path / "instances.json", tmp_path / "coarse.json")
        files.annotations.write_text(json.dumps(annotations))
        files.results.write_text(json.dumps(results))
        return files

    return make


def scene(rng: np.random.Generator, images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and results: objects of three classes and all sizes, crowds, misses, duplicates, equal scores."""
    annotations: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": c, "name": f"class {c}"} for c in (1, 2, 7)],
    }
    results: list[dict[str, Any]] = []
    for number in rng.permutation(images).tolist():
        height, width = (int(n) for n in rng.integers(90, 240, 2))
        annotations["images"].append(
            {"id": 10 + number, "file_name": f"{number}.jpg", "height": height, "width": width}
        )
        for _ in range(int(rng.integers(1, 7))):
            category, shape = int(rng.choice([1, 1, 2, 7])), _shape(rng, height, width)
            crowd = int(rng.random() < 0.1)
            entry = {"image_id": 10 + number, "category_id": category}
            mask = ellipse(height, width, *shape)
            annotations["annotations"].append(
                {**entry, "id": len(annotations["annotations"]) + 1, "segmentation": rle_codec.encode(mask)}
                | {"iscrowd": crowd, "area": float(mask.sum())}
            )
            for _ in range(int(rng.integers(0, 4))):
                predicted = ellipse(height, width, *(shape + rng.normal(0, 2.5, 4)))
                score = round(float(rng.uniform(0.05, 1)), 1)  # coarse, so that some are equal
                results.append({**entry, "segmentation": rle_codec.encode(predicted), "score": score})
        false_positive = ellipse(height, width, *_shape(rng, height, width))
        results.append(
            {"image_id": 10 + number, "category_id": 2, "segmentation": rle_codec.encode(false_positive), "score": 0.3}
        )
    return annotations, results


def ellipse(height: int, width: int, y: float, x: float, b: float, a: float) -> Mask:
    """An ellipse around (x, y) with half axes a (along x) and b, px; cut off by the image."""
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(((rows - y) / max(b, 1)) ** 2 + ((columns - x) / max(a, 1)) ** 2 <= 1)


def _shape(rng: np.random.Generator, height: int, width: int) -> Any:
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    return np.array([y, x, *np.exp(rng.uniform(np.log(5), np.log(80), 2))])


def _change(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
