"""``bpr export CKPT FILE``: a trained network as ONNX or, with ``--int8``, quantised as OpenVINO IR.

Normalisation and resizing are included.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from bpr.cli.command import add_overwrite, command_parser, exit_code
from bpr.data.inputs import read_input
from bpr.formats.files import copy_file, replacing
from bpr.formats.protection import Inputs
from bpr.models.backends import openvino_cache
from bpr.models.calibration import demo_patches, patches_of
from bpr.models.openvino_network import ir_of
from bpr.models.prediction_network import ProbabilityNetwork
from bpr.models.quantisation import KEPT, calibrate, check_nncf, compare
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import load_segmenter, resolve_checkpoint
from bpr.structures import SettingError

_PACKAGES: Final = ("onnx", "onnxscript")


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says; 0, or 2 if a file or a package is missing, or the output cannot be written."""
    options = command_parser("python -m bpr.models.export", __doc__)
    options.add_argument("ckpt", help="checkpoint, or the name of bundled weights (hrnet18s)")
    options.add_argument("output", type=Path, help="file to write: .onnx; with --int8 .xml, and .bin beside it")
    options.add_argument("--input-size", type=int, metavar="PX", help="side to which the network resizes patches")
    options.add_argument("--int8", action="store_true", help="quantise it, for this file and backend=openvino_int8")
    options.add_argument("--calibrate", type=Path, metavar="DIR", help="calibrate with these images, not the demo's")
    options.add_argument("--predictions", type=Path, metavar="FILE", help="coarse masks of these, as of refine.py")
    names = f"operations to leave in float32, by regular expressions; default: {' '.join(KEPT)}"
    options.add_argument("--keep", nargs="*", default=KEPT, metavar="REGEX", help=names)
    add_overwrite(options)
    chosen = options.parse_args(arguments)

    def work() -> None:
        checkpoint = resolve_checkpoint(chosen.ckpt)
        files = [chosen.output, chosen.output.with_suffix(".bin")] if chosen.int8 else [chosen.output]
        inputs = Inputs.of([path for path in (checkpoint, chosen.predictions) if path is not None], chosen.calibrate)
        _check_int8(chosen)
        for file in files:
            inputs.check_file(file, chosen.overwrite, "OUTPUT")
        segmenter = load_segmenter(checkpoint, chosen.input_size)
        if chosen.int8:
            export_int8(segmenter, chosen.output, chosen.calibrate, chosen.predictions, chosen.keep)
        else:
            export_onnx(segmenter, chosen.output)
        answer = "(n, 2, s, s) float32, probabilities and trust logits" if segmenter.trust else "(n, s, s) float32"
        print(f"{chosen.output}: images (n, 3, s, s) uint8 RGB, masks (n, s, s) bool -> {answer}")

    return exit_code(work, ValueError)


def _check_int8(chosen: argparse.Namespace) -> None:
    if chosen.int8 and chosen.output.suffix != ".xml":
        raise SettingError(f"--int8 writes OpenVINO IR: give OUTPUT the suffix .xml, not {chosen.output.name}")
    if not chosen.int8 and (chosen.calibrate or chosen.predictions or chosen.keep is not KEPT):
        raise SettingError("--calibrate, --predictions and --keep go with --int8")
    if chosen.calibrate and not chosen.predictions:
        raise SettingError(f"--calibrate {chosen.calibrate} needs --predictions FILE, coarse masks of its images")
    if chosen.int8:
        check_nncf("--int8")


def export_int8(
    segmenter: PatchSegmenter, path: Path, images: Path | None, predictions: Path | None, kept: Sequence[str] = KEPT
) -> None:
    """Quantise a network, say what it loses, and have ``backend=openvino_int8`` use it from now on.

    Args:
        segmenter: In eval mode; not modified.
        path: Becomes its IR, with the weights beside it (``.bin``).
        images: Folder; None: found beside ``predictions``.
        predictions: Coarse masks to calibrate with; None: the demo's.
        kept: As `bpr.models.quantisation.KEPT`.
    """
    if predictions is None:
        calibration, held_back = demo_patches(segmenter)
    else:
        calibration, held_back = patches_of(segmenter, read_input(images, predictions).records)
    cache = openvino_cache()
    made = calibrate(segmenter, calibration, cache, kept)
    for suffix in (".bin", ".xml"):
        copy_file(made.with_suffix(suffix), path.with_suffix(suffix))
    if held_back:
        print(compare(made, ir_of(segmenter, cache), held_back))
    print(
        f"calibrated with {sum(len(crops.masks) for crops in calibration)} patches; backend=openvino_int8 uses it now"
    )


def export_onnx(segmenter: PatchSegmenter, path: Path) -> None:
    """Write a network as ONNX, normalisation and resizing included, for any number of patches of any side.

    Inputs are ``images`` (n, 3, s, s) uint8 RGB and ``masks`` (n, s, s) bool; the output is ``probabilities``
    (n, s, s) float32, or (n, 2, s, s) with the trust logits.

    Args:
        segmenter: In eval mode; not modified.
        path: The file; replaced if it exists, never left half written.

    Raises:
        SettingError: If the exporter's packages are not installed; says how to install them.
    """
    missing = [package for package in _PACKAGES if not find_spec(package)]
    if missing:
        raise SettingError(f"the export needs {', '.join(missing)}: pip install -e '.[onnx]'")
    # No side that equals another size in the network: the exporter would take both for one dimension.
    side = segmenter.input_size + 8
    example = torch.zeros(3, 3, side, side, dtype=torch.uint8), torch.zeros(3, side, side, dtype=torch.bool)
    free = torch.export.Dim.DYNAMIC
    with replacing(path) as unfinished:
        torch.onnx.export(
            ProbabilityNetwork(segmenter).cpu(),
            example,
            str(unfinished),
            input_names=["images", "masks"],
            output_names=["probabilities"],
            dynamic_shapes=({0: free, 2: free, 3: free}, {0: free, 1: free, 2: free}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


if __name__ == "__main__":
    sys.exit(main())
