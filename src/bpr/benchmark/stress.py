"""``bpr stress``, also ``python -m bpr.benchmark.stress``: from which quality on refining your masks harms them.

Makes coarse masks of known quality from ground truth, refines them, and compares both with the truth.
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from tqdm import tqdm

from bpr import rle
from bpr.api.refiner import Refiner
from bpr.benchmark.measure import add_network_options
from bpr.benchmark.plots import check_plot, new_figure, write_figure
from bpr.benchmark.stress_scores import (
    INPUTS,
    InputScores,
    Sample,
    break_even,
    coarse_inputs,
    compare_masks,
    format_scores,
    score_inputs,
)
from bpr.cli.command import add_overwrite, at_least, command_parser, counted, exit_code
from bpr.data.image_finder import ImageFinder
from bpr.data.images import read_image
from bpr.formats.annotations import AnnotatedImage, Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.files import write_text
from bpr.formats.protection import Inputs
from bpr.structures import Mask, Round, SettingError

_MOST_PIXELS: Final = 2**28
"""Of the masks that are refined together, where the inputs of one object are not more."""


class ChosenImage(NamedTuple):
    """An image on disk, and which of its annotated objects are looked at: place in the image -> place in the file."""

    path: Path
    annotated: AnnotatedImage
    objects: dict[int, int]


class Choice(NamedTuple):
    """What is looked at, and how many annotated objects are not: beyond ``--objects``, crowd regions, empty ones."""

    images: list[ChosenImage]
    not_drawn: int
    crowds: int
    empty: int

    @property
    def objects(self) -> int:
        """Number of objects that are looked at."""
        return sum(len(image.objects) for image in self.images)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write and draw; 0, or 2 if a file or setting cannot be used."""
    chosen = _parse(arguments)

    def work() -> None:
        choices = {
            path: choose_objects(chosen.images, read_annotations(path), chosen.objects, chosen.seed)
            for path in chosen.annotations
        }
        _check_outputs(chosen, choices)
        refiner = Refiner.from_pretrained(
            chosen.ckpt,
            trust=not chosen.no_trust,
            device=chosen.device,
            threads=chosen.threads,
            backend=chosen.backend,
            rounds=chosen.rounds,
        )
        contents = []
        for path, choice in choices.items():
            samples = list(stress(refiner, choice, chosen.seed, chosen.inputs))
            scores = score_inputs(samples, choice.objects, chosen.inputs)
            print(_setting(chosen, path, choice))
            print(format_scores(scores), flush=True)
            contents.append(_content(chosen, path, choice, scores))
        if chosen.json is not None:
            write_text(chosen.json, json.dumps(contents if len(contents) > 1 else contents[0], indent=2) + "\n")
        if chosen.plot is not None:
            draw(scores, samples, chosen.plot)

    return exit_code(work)


def choose_objects(images: Path, annotations: Annotations, most: int, seed: int) -> Choice:
    """Draw objects, and find their images.

    Args:
        images: Folder.
        annotations: Ground truth.
        most: Objects to draw, where there are more; each is as likely as the others.
        seed: Of the draw.

    Raises:
        FormatError: If there is no object to draw, or an image is missing.
    """
    truths = [(i, n, truth) for i, image in annotations.images.items() for n, truth in enumerate(image.truths)]
    usable = [k for k, (_, _, truth) in enumerate(truths) if not truth.crowd and rle.area(truth.rle)]
    crowds = sum(truth.crowd for *_, truth in truths)
    if not usable:
        problem = "no object with a pixel is annotated that is no crowd region; give a file with ground truth"
        raise FormatError(annotations.path, None, problem)
    drawn = np.random.default_rng(seed).permutation(usable)[:most]
    by_image: dict[int | str, dict[int, int]] = {}
    for k in sorted(drawn.tolist()):
        image_id, number, _ = truths[k]
        by_image.setdefault(image_id, {})[number] = k
    finder = ImageFinder(images, annotations.path)
    found = []
    for image_id, objects in by_image.items():
        image = annotations.images[image_id]
        path = finder.named(image.file_name, f"image {image_id!r} of {annotations.path}")
        found.append(ChosenImage(path, image, objects))
    return Choice(found, len(usable) - len(drawn), crowds, len(truths) - len(usable) - crowds)


def stress(refiner: Refiner, choice: Choice, seed: int, names: Collection[str] = INPUTS) -> Iterator[Sample]:
    """Refine inputs of the chosen objects.

    Args:
        refiner: Of the masks.
        choice: The objects. What is simulated for one does not depend on which others are drawn.
        seed: Of the simulated coarse masks.
        names: Those of the `INPUTS` that are made.

    Yields:
        The samples, object by object.

    Raises:
        FormatError: If an image cannot be read.
    """
    for image in tqdm(choice.images, desc="refining", unit="image", leave=False, disable=None):
        pixels = read_image(image.path, image.annotated.size)
        together = max(1, _MOST_PIXELS // (len(names) * pixels.shape[0] * pixels.shape[1]))
        made = list(inputs_of(image, seed, names))
        for first in range(0, len(made), together):
            masks = [
                (name, true, coarse)
                for true, inputs in made[first : first + together]
                for name, coarse in inputs.items()
            ]
            if not masks:
                continue
            refined = refiner(pixels, np.stack([coarse for *_, coarse in masks]))
            for (name, true, coarse), mask in zip(masks, refined, strict=True):
                yield compare_masks(name, true, coarse, mask)


def draw(scores: Sequence[InputScores], samples: Sequence[Sample], path: Path) -> None:
    """Write a picture of the gain over the IoU of the input: every object, the means, and the break-even.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed; says how to install it.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=0.8)
    for number, row in enumerate(scores):
        if row.iou_before is None or row.gain is None:
            continue
        own = [sample for sample in samples if sample.input == row.input]
        before, after = (100 * np.array([getattr(s, when).iou for s in own]) for when in ("before", "after"))
        axes.scatter(before, after - before, s=8, alpha=0.5, linewidths=0, color=f"C{number}")
        axes.plot(
            100 * row.iou_before, 100 * row.gain, "o", markeredgecolor="black", color=f"C{number}", label=row.input
        )
    even = break_even(scores)
    if even is not None:
        axes.axvline(100 * even, color="black", linestyle=":", label=f"break-even: {100 * even:.1f}")
    axes.set(xlabel="IoU of the input with the truth, %", ylabel="gain in IoU by refining, points")
    axes.grid(alpha=0.3)
    axes.legend()
    write_figure(figure, path)


def inputs_of(image: ChosenImage, seed: int, names: Collection[str] = INPUTS) -> Iterator[tuple[Mask, dict[str, Mask]]]:
    """The true mask of each chosen object of an image, and what is made of it: those of the `INPUTS` that are named."""
    masks = [rle.decode(truth.rle) for truth in image.annotated.truths]
    cover = sum((mask.astype(np.int32) for mask in masks), start=np.zeros(image.annotated.size, np.int32))
    for number, place in image.objects.items():
        true = masks[number]
        yield true, coarse_inputs(true, (cover - true) > 0, np.random.default_rng((seed, place)), names)


def _check_outputs(chosen: argparse.Namespace, choices: Mapping[Path, Choice]) -> None:
    seen = [image.path for choice in choices.values() for image in choice.images]
    inputs = Inputs.of([*choices, Path(chosen.ckpt), *seen], chosen.images)
    for name in ("json", "plot"):
        if getattr(chosen, name) is not None:
            inputs.check_file(getattr(chosen, name), chosen.overwrite, f"--{name}")
    if chosen.plot is not None:
        if len(choices) > 1:
            raise SettingError(f"--plot draws one file, got {len(choices)} of --annotations")
        check_plot(chosen.plot)


def _setting(chosen: argparse.Namespace, path: Path, choice: Choice) -> str:
    """What is measured, in a line, and an empty one."""
    of = f" of {choice.objects + choice.not_drawn}" if choice.not_drawn else ""
    parts = [
        f"{choice.objects}{of} objects in {counted(len(choice.images), 'image')}",
        f"left out: {counted(choice.crowds, 'crowd region')}, {counted(choice.empty, 'object')} without a pixel",
    ]
    trust = ", without trust" if chosen.no_trust else ""
    rounds = "" if chosen.rounds is None else f", rounds {'+'.join(chosen.rounds)}"
    file = "" if len(chosen.annotations) == 1 else f"\n{path}\n"
    return f"{file}{chosen.ckpt}{rounds}{trust}, seed {chosen.seed}: {'; '.join(parts)}\n"


def _content(chosen: argparse.Namespace, path: Path, choice: Choice, scores: Sequence[InputScores]) -> dict[str, Any]:
    """What ``--json`` writes of one file; all shares and IoU in [0, 1]."""
    return {
        "annotations": str(path),
        "ckpt": str(chosen.ckpt),
        "rounds": chosen.rounds,
        "trust": not chosen.no_trust,
        "seed": chosen.seed,
        "images": len(choice.images),
        "objects": choice.objects,
        "not_drawn": choice.not_drawn,
        "crowds_left_out": choice.crowds,
        "empty_left_out": choice.empty,
        "break_even": break_even(scores),
        "inputs": [asdict(row) for row in scores],
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = command_parser("bpr stress", __doc__)
    options.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    options.add_argument(
        "--annotations",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="ground truth: COCO or LVIS file, gtFine folder; a table for each",
    )
    options.add_argument(
        "--inputs",
        nargs="+",
        choices=INPUTS,
        default=INPUTS,
        metavar="NAME",
        help="coarse masks to make (default: all)",
    )
    options.add_argument(
        "--objects", type=at_least(1), default=200, metavar="N", help="draw at most N objects of a file (default: 200)"
    )
    options.add_argument("--seed", type=at_least(0), default=0, help="of the draw and the simulated masks (default: 0)")
    add_network_options(options)
    options.add_argument(
        "--rounds",
        nargs="+",
        choices=[str(one) for one in Round],
        help="passes over the boundaries (default: as suits the weights)",
    )
    options.add_argument("--no-trust", action="store_true", help="refine all masks, also those that the network trusts")
    options.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all figures (in [0, 1]); a list for several files"
    )
    options.add_argument("--plot", type=Path, metavar="FILE.png", help="draw gain over input IoU (extra plots)")
    add_overwrite(options)
    return options.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
