"""``python -m bpr.models.export CKPT FILE.onnx``: a trained network as ONNX, normalisation and resizing included."""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from bpr.cli.command import add_overwrite, exit_code
from bpr.formats.files import replacing
from bpr.formats.protection import Inputs
from bpr.models.prediction_network import ProbabilityNetwork
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import load_segmenter, resolve_checkpoint
from bpr.structures import SettingError

_PACKAGES: Final = ("onnx", "onnxscript")


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says; 0, or 2 if a file or a package is missing, or the output cannot be written."""
    options = argparse.ArgumentParser(prog="python -m bpr.models.export", description=__doc__)
    options.add_argument("ckpt", help="checkpoint, or the name of bundled weights (hrnet18s)")
    options.add_argument("output", type=Path, help="file to write, .onnx")
    options.add_argument("--input-size", type=int, metavar="PX", help="what the network resizes them to")
    add_overwrite(options)
    chosen = options.parse_args(arguments)

    def work() -> None:
        checkpoint = resolve_checkpoint(chosen.ckpt)
        Inputs.of([checkpoint]).check_file(chosen.output, chosen.overwrite, "OUTPUT")
        export_onnx(load_segmenter(checkpoint, chosen.input_size), chosen.output)
        print(
            f"{chosen.output}: images (n, 3, s, s) uint8 RGB, masks (n, s, s) bool -> probabilities (n, s, s) float32"
        )

    return exit_code(work, ValueError)


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
        raise SettingError(f"the export needs {', '.join(missing)}: pip install 'bpr[onnx]'")
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
