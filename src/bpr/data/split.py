"""``python -m bpr.data.split``: keep some annotated images, and their predictions, out of a training."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from bpr.cli.command import add_overwrite, command_parser, counted, exit_code
from bpr.formats import coco
from bpr.formats.annotations import Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.files import write_bytes
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


def choose_photographs(
    names: Mapping[int | str, str], share: float, photograph: str | None, seed: int = 0
) -> set[int | str]:
    """Choose about a share of the photographs by a hash of their names alone, so that all files agree on them.

    Args:
        names: File name of each image, by its id.
        share: Of the photographs to keep out, in (0, 1).
        photograph: Regular expression that finds the part of a file name (without suffix) by which a photograph goes in
            several files, e.g. ``[0-9]+$``; None takes the whole name.
        seed: Of the hash.

    Raises:
        ValueError: If the share is out of range, or the expression is wrong or does not match a name.
    """
    if not 0 < share < 1:
        raise ValueError(f"--share must be in (0, 1), got {share}")
    try:
        expression = re.compile(photograph or ".+")
    except re.error as error:
        raise ValueError(f"--photograph {photograph} is no regular expression: {error}") from error
    chosen = set()
    for image_id, name in names.items():
        found = expression.search(PurePath(name).stem)
        if found is None:
            raise ValueError(f"--photograph {photograph} matches nothing in {name}")
        state = hashlib.blake2b(f"{seed} {found[0]}".encode(), digest_size=8)
        if int.from_bytes(state.digest()) < share * 2**64:
            chosen.add(image_id)
    return chosen


def split(
    annotations: Path,
    predictions: Sequence[Path],
    output: Path,
    choose: Callable[[Annotations], set[int | str]],
    overwrite: bool = False,
) -> int:
    """Write ``output/train`` and ``output/holdout``, each with all the files under their own names.

    Args:
        annotations: COCO annotation file.
        predictions: COCO results files of the same images.
        output: Folder.
        choose: Says which images to keep out.
        overwrite: Replace files that exist, except those that are read.

    Returns:
        How many images are kept out.

    Raises:
        FormatError: If a file is wrong, or would be written over.
    """
    names = [path.name for path in (annotations, *predictions)]
    for path in predictions:
        if names.count(path.name) > 1:
            problem = "has the name of another of the files, beside which it would be written; rename one of them"
            raise FormatError(path, None, problem)
    inputs = Inputs.of([annotations, *predictions])
    for name in ("train", "holdout"):
        for path in (annotations, *predictions):
            inputs.check_file(output / name / path.name, overwrite, "--output")
    annotated = read_annotations(annotations)
    holdout = choose(annotated)
    content = read_json(annotations)
    results = {path.name: coco.read_results(path) for path in predictions}
    for name, kept in (("train", set(annotated.images) - holdout), ("holdout", holdout)):
        folder = output / name
        part: dict[str, Any] = {
            **content,
            "images": [image for image in content["images"] if image["id"] in kept],
            "annotations": [a for a in content.get("annotations") or [] if annotated.id_of(a["image_id"]) in kept],
        }
        write_bytes(folder / annotations.name, [json.dumps(part).encode()])
        for file_name, entries in results.items():
            coco.write_results(
                folder / file_name, [entry for entry in entries if annotated.id_of(entry["image_id"]) in kept]
            )
    return len(holdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command_parser("python -m bpr.data.split", __doc__)
    parser.add_argument("annotations", type=Path, help="COCO annotation file")
    parser.add_argument("predictions", type=Path, nargs="*", help="COCO results files of the same images")
    how_many = parser.add_mutually_exclusive_group(required=True)
    how_many.add_argument("--holdout", type=int, help="how many images to keep out")
    how_many.add_argument("--share", type=float, help="about which share of them, chosen by their names")
    name_help = "with --share: regular expression of the part of a name by which a photograph goes in several files"
    parser.add_argument("--photograph", metavar="REGEX", help=name_help)
    parser.add_argument("--output", type=Path, required=True, help="folder for train/ and holdout/")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    add_overwrite(parser)
    options = parser.parse_args(arguments)

    def choose(annotated: Annotations) -> set[int | str]:
        if options.share is None:
            return choose_holdout(list(annotated.images), options.holdout, options.seed)
        names = {image_id: image.file_name for image_id, image in annotated.images.items()}
        return choose_photographs(names, options.share, options.photograph, options.seed)

    def work() -> None:
        kept = split(options.annotations, options.predictions, options.output, choose, options.overwrite)
        print(f"{options.output}: {counted(kept, 'image')} in holdout/, the others in train/")

    return exit_code(work, ValueError)


if __name__ == "__main__":
    sys.exit(main())
