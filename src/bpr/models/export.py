"""``python -m bpr.models.export CKPT FILE.onnx``: a trained network as ONNX, normalisation and resizing included."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bpr.cli.command import add_overwrite, exit_code
from bpr.formats.protection import Inputs
from bpr.models.backends import export_onnx
from bpr.models.weights import load_segmenter, resolve_checkpoint


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


if __name__ == "__main__":
    sys.exit(main())
