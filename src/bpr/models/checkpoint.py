"""A `PatchRefiner` that is ready to predict, from a checkpoint alone."""

from pathlib import Path

from bpr.models.refiner import PatchRefiner
from bpr.models.weights import load_segmenter
from bpr.structures import Backend


def load_refiner(
    path: str | Path,
    input_size: int | None = None,
    patches_per_forward: int | None = None,
    backend: Backend = Backend.eager,
    cache: Path | None = None,
) -> PatchRefiner:
    """Read a checkpoint of this project, its exported weights, or the paper authors' released ``.pth``.

    Args:
        path: The file; it is read with ``weights_only=True``, so it cannot run code.
        input_size: Side the network resizes patches to, px; by default what the checkpoint was trained with.
        patches_per_forward: The network sees at most so many patches at a time; None: as many as suit the device.
        backend: How the network is run.
        cache: Folder for what a backend keeps.

    Returns:
        The module in eval mode.

    Raises:
        bpr.models.weights.CheckpointError: If the file is missing or has another layout.
    """
    segmenter = load_segmenter(path, input_size)
    return PatchRefiner(segmenter, None, None, patches_per_forward, backend, cache).eval()
