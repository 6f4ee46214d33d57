"""``python -m bpr.formats.split``: keep some annotated images, and their predictions, out of a training."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpr.command import exit_code
from bpr.formats import coco
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.files import replacing
from bpr.formats.json_fields import read_json
from bpr.formats.protection import Inputs


def choose_holdout(image_ids: Sequence[int | str], count: int, seed: int = 0) -> set[int | str]:
    """Draw ``count`` of the images; the draw depends on their order and on ``seed`` alone.

    Raises:
        ValueError: If there are not more images than that.
    """
    if not 0 < count < len(image_ids):
        raise ValueError(f"cannot keep {count} of {len(image_ids)} images out; give 1 to {len(image_ids) - 1}")
    chosen = np.random.default_rng(seed).choice(len(image_ids), count, replace=False)
    return {image_ids[i] for i in chosen}


def split(annotations: Path, predictions: Sequence[Path], output: Path, count: int, seed: int = 0) -> None:
    """Write ``output/train`` and ``output/holdout``, each with all the files under their own names.

    Args:
        annotations: COCO annotation file.
        predictions: COCO results files of the same images.
        output: Folder; files in it are replaced, except those that are read.
        count: Images to keep out.
        seed: Of the draw.

    Raises:
        FormatError: If a file is wrong, or would be written over.
        ValueError: If ``count`` does not fit.
    """
    names = [path.name for path in (annotations, *predictions)]
    for path in predictions:
        if names.count(path.name) > 1:
            problem = "has the name of another of the files, beside which it would be written; rename one of them"
            raise FormatError(path, None, problem)
    inputs = Inputs.of([annotations, *predictions])
    for name in ("train", "holdout"):
        for path in (annotations, *predictions):
            inputs.check_file(output / name / path.name, argument="--output")
    annotated = read_annotations(annotations)
    holdout = choose_holdout(list(annotated.images), count, seed)
    content = read_json(annotations)
    results = {path.name: coco.read_results(path) for path in predictions}
    for name, kept in (("train", set(annotated.images) - holdout), ("holdout", holdout)):
        folder = output / name
        part: dict[str, Any] = {
            **content,
            "images": [image for image in content["images"] if image["id"] in kept],
            "annotations": [a for a in content.get("annotations", []) if a["image_id"] in kept],
        }
        with replacing(folder / annotations.name) as unfinished:
            unfinished.write_text(json.dumps(part), encoding="utf-8")
        for file_name, entries in results.items():
            coco.write_results(folder / file_name, [entry for entry in entries if entry["image_id"] in kept])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bpr.formats.split", description=__doc__)
    parser.add_argument("annotations", type=Path, help="COCO annotation file")
    parser.add_argument("predictions", type=Path, nargs="*", help="COCO results files of the same images")
    parser.add_argument("--holdout", type=int, required=True, help="how many images to keep out")
    parser.add_argument("--output", type=Path, required=True, help="folder for train/ and holdout/")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    def work() -> None:
        split(options.annotations, options.predictions, options.output, options.holdout, options.seed)
        print(f"{options.output}: {options.holdout} images in holdout/, the others in train/")

    return exit_code(work, ValueError)


if __name__ == "__main__":
    sys.exit(main())
