"""``python -m bpr.models.averaging A B OUTPUT``: the mean of the weights of networks of one training lineage."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bpr.cli.command import add_overwrite, command_parser, exit_code
from bpr.formats.protection import Inputs
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import load_segmenter, save_segmenter


def average(segmenters: Sequence[PatchSegmenter]) -> PatchSegmenter:
    """A network whose weights and batch statistics are the mean of the given ones (Wortsman et al., ICML 2022).

    Args:
        segmenters: At least one, all with the same config; trained on from the same weights, or their mean is useless.
            Not modified.

    Raises:
        ValueError: If there is none, or their configs differ.
    """
    if not segmenters or any(segmenter.config != segmenters[0].config for segmenter in segmenters):
        raise ValueError(f"networks must have one config, got {[segmenter.config for segmenter in segmenters]}")
    mean = PatchSegmenter(**segmenters[0].config)  # type: ignore[arg-type]
    states = [segmenter.state_dict() for segmenter in segmenters]
    mean.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
            for name, value in states[-1].items()
        }
    )
    return mean.eval()


def main(arguments: Sequence[str] | None = None) -> int:
    """Average as the command line says; 0, or 2 if a file cannot be used."""
    options = command_parser("python -m bpr.models.averaging", __doc__)
    options.add_argument("checkpoints", nargs="+", help="checkpoints of networks of the same config")
    options.add_argument("output", type=Path, help="file to write, .safetensors")
    options.add_argument("--half", action="store_true", help="store filters as float16")
    add_overwrite(options)
    chosen = options.parse_args(arguments)

    def work() -> None:
        Inputs.of(map(Path, chosen.checkpoints)).check_file(chosen.output, chosen.overwrite, "OUTPUT")
        save_segmenter(average([load_segmenter(path) for path in chosen.checkpoints]), chosen.output, chosen.half)

    return exit_code(work, ValueError)


if __name__ == "__main__":
    sys.exit(main())
