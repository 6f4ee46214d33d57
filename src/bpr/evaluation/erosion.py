"""The simplest baseline of all: every mask eroded by a pixel or two.

``python -m bpr.evaluation.erosion RESULTS ANNOTATIONS`` prints AP for each number of pixels. Segmenters tend to
draw masks a little too large; a refiner that wins less than this has learnt nothing about boundaries.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from bpr import rle as rle_codec
from bpr.command import exit_code, parser
from bpr.evaluation.average_precision import average_precision, boundary_average_precision
from bpr.evaluation.images import EvaluatedImage, read_annotated_predictions
from bpr.evaluation.table import percent
from bpr.structures import Rle


def eroded_mask(mask: Rle, pixels: int) -> Rle:
    """``mask`` without the pixels that have background within ``pixels`` px (chessboard distance).

    The border of the image is not background. A mask that would vanish stays as it is.
    """
    height, width = mask["size"]
    x1, y1, x2, y2 = rle_codec.bounding_box(mask)
    window = (max(x1 - 1, 0), max(y1 - 1, 0), min(x2 + 1, width), min(y2 + 1, height))
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    if x1 == x2:
        return mask
    inside = rle_codec.decode(mask, window)
    eroded = cv2.erode(inside.view(np.uint8), kernel).astype(np.bool_)
    return rle_codec.encode(eroded, window, (height, width)) if eroded.any() else mask


def erode_all(images: Sequence[EvaluatedImage], pixels: int) -> list[EvaluatedImage]:
    """The same images with all predicted masks eroded by ``pixels`` px; 0 changes nothing."""
    return [
        replace(image, predicted=tuple(replace(p, rle=eroded_mask(p.rle, pixels)) for p in image.predicted))
        for image in images
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the baselines that the command line asks for; 0, or 2 if a file cannot be used."""
    options = parser("bpr.evaluation.erosion", "AP of eroded masks.")
    options.add_argument("--pixels", type=int, nargs="+", default=[1], metavar="P", help="px to erode by (default: 1)")
    chosen = options.parse_args(arguments)

    def work() -> None:
        _, images = read_annotated_predictions(chosen.results, chosen.annotations)
        for pixels in [0, *chosen.pixels]:
            masks = erode_all(images, pixels)
            ap, boundary = average_precision(masks), boundary_average_precision(masks, chosen.dilation_ratio)
            figures = (("AP", ap.ap), ("AP50", ap.ap50), ("AP75", ap.ap75), ("Boundary AP", boundary.ap))
            print(f"eroded by {pixels} px: " + ", ".join(f"{name} {percent(score)}" for name, score in figures))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
