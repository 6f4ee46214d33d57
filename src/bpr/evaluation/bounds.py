"""How much a refiner of boundaries could win: masks with the true boundary (paper, table 1).

``python -m bpr.evaluation.bounds RESULTS ANNOTATIONS --distance 1 2 3`` prints AP for each distance.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bpr import rle as rle_codec
from bpr.command import exit_code, parser
from bpr.evaluation.average_precision import average_precision, boundary_average_precision
from bpr.evaluation.images import EvaluatedImage, read_annotated_predictions
from bpr.evaluation.table import percent
from bpr.matching import best_truths
from bpr.patches.boundary import boundary_band
from bpr.structures import Rle


def oracle_masks(images: Sequence[EvaluatedImage], distance: int) -> list[EvaluatedImage]:
    """Replace the pixels within ``distance`` of the predicted boundaries by the matched objects.

    Each prediction is matched to the object of its class with the highest IoU above 0 (`best_truths`), so
    that duplicates and poor masks are corrected too; a prediction without one stays as it is.

    Args:
        images: Predictions and objects; not modified.
        distance: px, >= 0; 0 changes nothing. See `boundary_band`.

    Returns:
        The same images with other predicted masks.

    Raises:
        ValueError: If the distance is negative.
    """
    if distance < 0:
        raise ValueError(f"distance must be at least 0 px, got {distance}")
    return [_oracle_image(image, distance) if distance else image for image in images]


def oracle_mask(predicted: Rle, true: Rle, distance: int) -> Rle:
    """``predicted`` with its pixels within ``distance`` px (>= 1) of its boundary taken from ``true``.

    Works in the bounding box of the prediction, grown by the distance.
    """
    height, width = predicted["size"]
    x1, y1, x2, y2 = rle_codec.bounding_box(predicted)
    grow = distance + 1  # one more, so that the window ends in background and the band in it is whole
    window = (max(x1 - grow, 0), max(y1 - grow, 0), min(x2 + grow, width), min(y2 + grow, height))
    mask = rle_codec.decode(predicted, window)
    refined = np.where(boundary_band(mask, distance), rle_codec.decode(true, window), mask)
    return rle_codec.encode(refined, window, (height, width))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the upper bounds that the command line asks for; 0, or 2 if a file cannot be used."""
    options = parser("bpr.evaluation.bounds", "AP of masks with a perfect boundary.")
    options.add_argument(
        "--distance",
        type=_pixels,
        nargs="+",
        default=[1, 2, 3],
        metavar="D",
        help="correct all pixels within D px of the predicted boundary (default: 1 2 3)",
    )
    chosen = options.parse_args(arguments)
    return exit_code(lambda: _print_table(chosen.results, chosen.annotations, chosen.distance, chosen.dilation_ratio))


def _oracle_image(image: EvaluatedImage, distance: int) -> EvaluatedImage:
    predicted = list(image.predicted)
    for match in best_truths(image.predicted, image.truths):
        instance = predicted[match.predicted]
        rle = oracle_mask(instance.rle, image.truths[match.true].rle, distance)
        predicted[match.predicted] = replace(instance, rle=rle)
    return replace(image, predicted=tuple(predicted))


def _print_table(results: Path, annotations: Path, distances: Sequence[int], dilation_ratio: float) -> None:
    _, images = read_annotated_predictions(results, annotations)
    print("| masks          |    AP |  AP50 |  AP75 | Boundary AP |")
    print("| -------------- | ----: | ----: | ----: | ----------: |")
    for distance in [0, *distances]:
        masks = oracle_masks(images, distance)
        ap, boundary = average_precision(masks), boundary_average_precision(masks, dilation_ratio)
        cells = [percent(score) for score in (ap.ap, ap.ap50, ap.ap75, boundary.ap)]
        name = f"oracle {distance} px" if distance else "as predicted"
        print(f"| {name:<14} | {cells[0]:>5} | {cells[1]:>5} | {cells[2]:>5} | {cells[3]:>11} |", flush=True)


def _pixels(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 px, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
