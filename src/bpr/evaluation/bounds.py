"""AP of masks that a refiner must beat, and of those it could at best reach.

``python -m bpr.evaluation.bounds RESULTS ANNOTATIONS --distance 1 2 3 --erode 1`` prints both in one table. To beat:
every mask eroded by a pixel or two, since segmenters tend to draw masks a little too large; a refiner that gains less
has learnt nothing about boundaries. To reach: masks whose boundary is the true one (paper, table 1).
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from bpr import rle as rle_codec
from bpr.cli.command import at_least, exit_code, parser
from bpr.evaluation.annotated_predictions import read_annotated_predictions
from bpr.evaluation.average_precision import average_precision, boundary_average_precision
from bpr.evaluation.table import percent
from bpr.formats.format_detection import prediction_format
from bpr.matching import best_truths
from bpr.patches.boundary import boundary_band
from bpr.patches.windows import working_window
from bpr.structures import ImageRecord, Rle


def oracle_masks(images: Sequence[ImageRecord], distance: int) -> list[ImageRecord]:
    """The images with the pixels within ``distance`` px (>= 1) of predicted boundaries taken from the matched objects.

    Each prediction is matched to the object of its class with the highest IoU above 0 (`best_truths`), so
    that duplicates and poor masks are corrected too; a prediction without one stays as it is.
    """
    corrected = []
    for image in images:
        instances = list(image.instances)
        for match in best_truths(image.instances, image.truths):
            instance = instances[match.predicted]
            rle = oracle_mask(instance.rle, image.truths[match.true].rle, distance)
            instances[match.predicted] = replace(instance, rle=rle)
        corrected.append(replace(image, instances=tuple(instances)))
    return corrected


def oracle_mask(predicted: Rle, true: Rle, distance: int) -> Rle:
    """``predicted`` with its pixels within ``distance`` px (>= 1) of its boundary taken from ``true``.

    Works in the bounding box of the prediction, grown by the distance.
    """
    height, width = predicted["size"]
    # one px more, so that the window ends in background and the band in it is whole
    window = working_window(rle_codec.bounding_box(predicted), (height, width), distance + 1)
    mask = rle_codec.decode(predicted, window)
    corrected = np.where(boundary_band(mask, distance), rle_codec.decode(true, window), mask)
    return rle_codec.encode(corrected, window, (height, width))


def eroded_masks(images: Sequence[ImageRecord], pixels: int) -> list[ImageRecord]:
    """The same images with all predicted masks eroded by ``pixels`` px, see `eroded_mask`."""
    return [
        replace(image, instances=tuple(replace(i, rle=eroded_mask(i.rle, pixels)) for i in image.instances))
        for image in images
    ]


def eroded_mask(mask: Rle, pixels: int) -> Rle:
    """``mask`` without the pixels that have background within ``pixels`` px (chessboard distance).

    The border of the image is not background. A mask that would vanish stays as it is.
    """
    height, width = mask["size"]
    window = working_window(rle_codec.bounding_box(mask), (height, width), 1)
    inside = rle_codec.decode(mask, window).view(np.uint8)
    if not inside.size:
        return mask
    eroded = cv2.erode(inside, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)).astype(np.bool_)
    return rle_codec.encode(eroded, window, (height, width)) if eroded.any() else mask


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the bounds that the command line asks for; 0, or 2 if a file cannot be used."""
    options = parser("bpr.evaluation.bounds", "AP of masks to beat (eroded) and to reach (with the true boundary).")
    several: Any = {"type": at_least(1), "nargs": "*", "metavar": "PX"}
    within = "correct all pixels within so many px of the predicted boundary (default: 1 2 3)"
    options.add_argument("--distance", default=[1, 2, 3], help=within, **several)
    options.add_argument("--erode", default=[1], help="erode every mask by so many px (default: 1)", **several)
    chosen = options.parse_args(arguments)

    def work() -> None:
        images = read_annotated_predictions(chosen.results, chosen.annotations)
        ratio = chosen.dilation_ratio or prediction_format(chosen.results).dilation_ratio
        print("| masks                  |    AP |  AP50 |  AP75 | Boundary AP |")
        print("| ---------------------- | ----: | ----: | ----: | ----------: |")
        rows = [("as predicted", images)]
        rows += [(f"to beat: eroded {pixels} px", eroded_masks(images, pixels)) for pixels in chosen.erode]
        rows += [(f"to reach: oracle {pixels} px", oracle_masks(images, pixels)) for pixels in chosen.distance]
        for name, masks in rows:
            ap, boundary = average_precision(masks), boundary_average_precision(masks, ratio)
            cells = [percent(score) for score in (ap.ap, ap.ap50, ap.ap75, boundary.ap)]
            print(f"| {name:<22} | {cells[0]:>5} | {cells[1]:>5} | {cells[2]:>5} | {cells[3]:>11} |", flush=True)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
