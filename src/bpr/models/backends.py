"""Ways to run a trained `PatchSegmenter`: the same masks, at different speeds."""

import hashlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bpr.formats.files import replacing
from bpr.models.prediction_network import ProbabilityNetwork
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError
from bpr.patches.engine import Network
from bpr.structures import Backend, Probabilities

Predict = Callable[[Tensor, Tensor], Tensor]
"""(n, 3, s, s) uint8 images and (n, s, s) bool masks -> (n, s, s) float32 probability of foreground."""

LAYOUT: Final = "onnx-2"
"""Part of the names of cached exports: changed whenever the same network would be exported otherwise."""

LARGEST_BY_MATRIX: Final = 128
"""Up to this input size, px, ONNX Runtime resizes the coarsest scale sooner by a matrix; its cost grows as size⁴."""

PATCHES_PER_THREAD: Final = 8
"""At most so many does a thread of ONNX Runtime see at a time on a CPU: their feature maps stay in its cache."""

WORTH_EXPORTING: Final = 3000
"""Instances from which ONNX Runtime saves more time than its export costs: some 20,000 patches, minutes on a CPU."""

CACHE: Final = Path.home() / ".cache" / "bpr" / "onnx"


def choose_backend(device: torch.device, instances: int) -> Backend:
    """The backend that is done first, as measured by ``python -m bpr.benchmark``.

    On a CPU that is ONNX Runtime, if it is installed (extra ``onnx``) and there is enough to do to make up for the
    export of the network; else eager.

    Args:
        device: Where the network runs.
        instances: To refine.
    """
    installed = all(find_spec(package) for package in ("onnx", "onnxruntime", "onnxscript"))
    long = device.type == "cpu" and instances >= WORTH_EXPORTING
    return Backend.onnxruntime if installed and long else Backend.eager


def best_patches_per_forward(device: torch.device, backend: Backend) -> int:
    """How many patches the network sees at a time by default, as measured by ``python -m bpr.benchmark``.

    Torch on a CPU is faster with few, whose feature maps stay in its caches, than with many.
    """
    return 16 if device.type == "cpu" and backend is not Backend.onnxruntime else 64


def make_predict(
    segmenter: PatchSegmenter, backend: Backend, side: int, cache: Path | None, device: torch.device
) -> Predict:
    """A function that does what ``segmenter.foreground_probability`` does.

    Args:
        segmenter: In eval mode; not modified.
        backend: How to run it.
        side: Of the patches, px.
        cache: Folder for exported networks; by default ``~/.cache/bpr/onnx``.
        device: Where it runs.

    Raises:
        ModuleNotFoundError: If ``onnxruntime`` is asked for and not installed; says how to install it.
    """
    if backend is Backend.onnxruntime:
        return _OnnxNetwork(cached_export(segmenter, side, cache or CACHE), device)
    network = ProbabilityNetwork(segmenter).to(device).to(memory_format=torch.channels_last)
    chosen: Any = torch.compile(network, dynamic=True) if backend is Backend.compile else network
    return cast(Predict, chosen.__call__)  # not the module itself: its owner would take it for a part of its own


def as_network(predict: Predict, device: torch.device) -> Network:
    """A backend as `bpr.patches.engine` runs it: arrays in, arrays out, without waiting for a GPU in between.

    Args:
        predict: The backend.
        device: Where it runs.

    Returns:
        The network; its answers raise a `bpr.models.weights.CheckpointError` where a probability is not finite.
    """

    @torch.inference_mode()
    def network(images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Callable[[], Probabilities]:
        inputs = (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks))
        answer = predict(*(part.to(device, non_blocking=True) for part in inputs))

        def wait() -> Probabilities:
            probabilities: Probabilities = answer.float().cpu().numpy()
            if not np.isfinite(probabilities).all():
                raise CheckpointError(
                    "the network gives probabilities that are not finite; use trainer.precision=32-true if it is "
                    "another one, else other weights"
                )
            return probabilities

        return wait

    return network


def export_onnx(segmenter: PatchSegmenter, path: Path, side: int) -> None:
    """Write a network as ONNX, normalisation and resizing included, for any number of patches.

    Inputs are ``images`` (n, 3, side, side) uint8 RGB and ``masks`` (n, side, side) bool; the output is
    ``probabilities`` (n, side, side) float32.

    Args:
        segmenter: In eval mode; not modified.
        path: The file; replaced if it exists, never left half written.
        side: Of the patches, px.

    Raises:
        ModuleNotFoundError: If the exporter's packages are not installed; says how to install them.
    """
    try:
        import onnxscript  # noqa: F401 (only for those who export)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the export needs: pip install 'bpr[onnx]'") from error
    network = ProbabilityNetwork(segmenter, matrix=segmenter.input_size <= LARGEST_BY_MATRIX).cpu()
    example = torch.zeros(3, 3, side, side, dtype=torch.uint8), torch.zeros(3, side, side, dtype=torch.bool)
    count = torch.export.Dim("n")
    with replacing(path) as unfinished:
        torch.onnx.export(
            network,
            example,
            str(unfinished),
            input_names=["images", "masks"],
            output_names=["probabilities"],
            dynamic_shapes=({0: count}, {0: count}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def cached_export(segmenter: PatchSegmenter, side: int, cache: Path) -> Path:
    """The network as ONNX in ``cache``, exported if it is not there; the name is a digest of weights and sizes."""
    state = hashlib.blake2b(f"{LAYOUT} {segmenter.config} {side} {torch.__version__}".encode(), digest_size=16)
    for name, value in segmenter.state_dict().items():
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().numpy().tobytes())
    path = cache / f"{state.hexdigest()}.onnx"
    if not path.exists():
        export_onnx(segmenter, path, side)
    return path


class _OnnxNetwork:
    """An exported network, as a `Predict`: on a CPU, each thread runs patches of its own.

    Args:
        path: The export.
        device: A CPU, of which it takes torch's number of threads, or a GPU.

    Raises:
        ModuleNotFoundError: If ``onnxruntime`` is not installed; says how to install it.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("backend=onnxruntime needs: pip install 'bpr[onnx]'") from error

        def session(threads: int) -> Any:
            options: Any = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            gpu = [] if device.type == "cpu" else ["CUDAExecutionProvider"]
            return onnxruntime.InferenceSession(str(path), options, providers=[*gpu, "CPUExecutionProvider"])

        self._threads = torch.get_num_threads()
        self._shared = session(self._threads)
        self._single = session(1) if device.type == "cpu" and self._threads > 1 else None
        self._pool = ThreadPoolExecutor(self._threads)

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        if len(images) == 0:
            return torch.zeros(masks.shape)
        images, masks = images.cpu(), masks.bool().cpu()
        if self._single is None or len(images) < self._threads:
            return _run(self._shared, images, masks)
        count = min(len(images), self._threads * math.ceil(len(images) / self._threads / PATCHES_PER_THREAD))
        parts = zip(torch.tensor_split(images, count), torch.tensor_split(masks, count), strict=True)
        try:
            running = [self._pool.submit(_run, self._single, *part) for part in parts]
        except RuntimeError:  # Python's main thread has ended: other threads go on, but pools take no more work
            return _run(self._shared, images, masks)
        return torch.cat([part.result() for part in running])


def _run(session: Any, images: Tensor, masks: Tensor) -> Tensor:
    arrays = {"images": images.contiguous().numpy(), "masks": masks.contiguous().numpy()}
    return torch.from_numpy(session.run(None, arrays)[0])
