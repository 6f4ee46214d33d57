"""Photographs with outlines that were drawn by hand, a click per corner, as annotators do: ``example.json``.

What ``python refine.py`` shows without arguments begins with them; the scenes of the demo, with ground truth, follow.
"""

import json
import shutil
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from bpr import rle
from bpr.formats.coco import read_results, write_results
from bpr.formats.json_fields import read_json
from bpr.structures import Image
from bpr.synthetic import demo
from bpr.synthetic.made_sets import MadeSet, make_set
from bpr.synthetic.photographs import photograph


def read_example() -> dict[str, Any]:
    """The outlines as the content of a COCO annotation file: images, annotations (polygons) and categories."""
    content: dict[str, Any] = json.loads(files(__package__).joinpath("example.json").read_text(encoding="utf-8"))
    return content


def example_photograph(file_name: str) -> Image:
    """The photograph, (h, w, 3) uint8, of an image that `read_example` lists."""
    return photograph(Path(file_name).stem)


def example_masks(file_name: str) -> NDArray[np.bool_]:
    """The outlines drawn by hand on a photograph of the example, as masks (n, h, w) bool."""
    example = read_example()
    (image,) = (image for image in example["images"] if image["file_name"] == file_name)
    size = image["height"], image["width"]
    drawn = [outline for outline in example["annotations"] if outline["image_id"] == image["id"]]
    return np.stack([rle.decode(rle.from_segmentation(one["segmentation"], size)) for one in drawn])


def make_tour(root: str | Path) -> MadeSet:
    """The photographs, then the scenes of the demo's ``val``, as one set ``root/tour``, made unless it is there.

    The hand-drawn outlines are predictions, of classes of which no object is annotated: they enter no score.

    Raises:
        FileExistsError: If ``root/tour`` or ``root/val`` has files that are not ours; they are left alone.
    """
    scenes = demo.make_demo(root)
    return make_set(Path(root) / "tour", demo.VERSION, partial(_build, scenes))


def _build(scenes: MadeSet, made: MadeSet) -> None:
    example, truth = read_example(), read_json(scenes.annotations)
    shutil.copytree(scenes.images, made.images, dirs_exist_ok=True)
    first_image, first_class = (max(one["id"] for one in truth[kind]) for kind in ("images", "categories"))
    names = {}
    for image in example["images"]:
        image["id"] += first_image
        names[image["id"]] = image["file_name"]
        picture = PillowImage.fromarray(example_photograph(image["file_name"]))
        picture.save(made.images / image["file_name"], compress_level=1)
    for category in example["categories"]:
        category["id"] += first_class
    drawn = [
        {
            "image_id": outline["image_id"] + first_image,
            "file_name": names[outline["image_id"] + first_image],
            "category_id": outline["category_id"] + first_class,
            "segmentation": outline["segmentation"],
            "score": 1.0,
        }
        for outline in example["annotations"]
    ]
    content = {
        "images": example["images"] + truth["images"],
        "annotations": truth["annotations"],
        "categories": truth["categories"] + example["categories"],
    }
    made.annotations.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    write_results(made.predictions, drawn + read_results(scenes.predictions))
