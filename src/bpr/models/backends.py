"""Ways to run a trained `PatchSegmenter`: the same masks, at different speeds."""

import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bpr.formats.files import replacing
from bpr.models.prediction_network import ProbabilityNetwork
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError
from bpr.patches.engine import Network
from bpr.structures import Backend, Probabilities, SettingError

Predict = Callable[[Tensor, Tensor], Tensor]
"""(n, 3, s, s) uint8 images and (n, s, s) bool masks -> (n, s, s) float32 probability of foreground; any n and s. Of a
network with trust, (n, 2, s, s): the trust logits are second."""

LAYOUT: Final = "onnx-4"
"""Part of the names of cached exports: changed whenever the same network would be exported otherwise."""

WORTH_EXPORTING: Final = 3000
"""Instances from which ONNX Runtime saves more time than its export costs: some 20,000 patches, minutes on a CPU."""

_PACKAGES: Final = ("onnx", "onnxruntime", "onnxscript")
_CPU: Final = "CPUExecutionProvider"
_GPU: Final = "CUDAExecutionProvider"
_NO_GPU: Final = (
    "backend=onnxruntime, as it is installed, cannot use {device}: pip install onnxruntime-gpu in place of onnxruntime "
    "(for CUDA), or use backend=eager or device=cpu"
)


def cache_folder() -> Path:
    """Where this package keeps what it can make again: ``$BPR_CACHE``, else ``~/.cache/bpr``.

    ``conf/paths/default.yaml`` says the same for the scripts.
    """
    return Path(os.environ.get("BPR_CACHE") or Path.home() / ".cache" / "bpr")


def usable_device(device: torch.device | str | None) -> torch.device:
    """The device of that name; None: a GPU if there is one.

    Raises:
        SettingError: If there is no such device on this machine.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises all of these
        gpus = torch.cuda.device_count()
        raise SettingError(
            f"device={device} cannot be used ({str(error).splitlines()[0]}); this machine has "
            f"{gpus or 'no'} CUDA GPU{'' if gpus == 1 else 's'}: use device=cpu{' or cuda' if gpus else ''}"
        ) from error
    return found


def check_backend(backend: Backend, device: torch.device) -> None:
    """Raise SettingError, which names the remedy, unless ``backend`` runs on ``device`` as it is installed here."""
    if backend is not Backend.onnxruntime:
        return
    _require_onnx("backend=onnxruntime")
    if device.type == "cpu":
        return
    import onnxruntime

    if device.type != "cuda" or _GPU not in onnxruntime.get_available_providers():
        raise SettingError(_NO_GPU.format(device=device))


def choose_backend(device: torch.device, instances: int) -> Backend:
    """The backend expected to finish first, as measured by ``python -m bpr.benchmark``.

    On a CPU that is ONNX Runtime, if it is installed (extra ``onnx``) and there is enough to do to make up for the
    export of the network; else eager.

    Args:
        device: Where the network runs.
        instances: To refine.
    """
    installed = all(find_spec(package) for package in _PACKAGES)
    long = device.type == "cpu" and instances >= WORTH_EXPORTING
    return Backend.onnxruntime if installed and long else Backend.eager


def best_patches_per_forward(device: torch.device, backend: Backend) -> int:
    """How many patches the network sees at a time by default, as measured by ``python -m bpr.benchmark``.

    Torch on a CPU is faster with few, whose feature maps stay in its caches, than with many.
    """
    return 16 if device.type == "cpu" and backend is not Backend.onnxruntime else 64


def make_predict(
    segmenter: PatchSegmenter, backend: Backend, device: torch.device, cache: Path | None = None
) -> Predict:
    """A function that does what ``segmenter.foreground_probability`` does, and gives trust logits where it has them.

    Args:
        segmenter: In eval mode; not modified.
        backend: How to run it.
        device: Where it runs.
        cache: Folder for exported networks; by default ``onnx`` in `cache_folder`.

    Raises:
        SettingError: If the backend does not run on the device, or needs a package that is not installed.
    """
    check_backend(backend, device)
    run: Predict
    if backend is Backend.onnxruntime:
        run = _OnnxNetwork(cached_export(segmenter, cache or cache_folder() / "onnx"), device)
    else:
        network = ProbabilityNetwork(segmenter).to(device).to(memory_format=torch.channels_last)
        run = torch.compile(network, dynamic=True) if backend is Backend.compile else network

    def predict(images: Tensor, masks: Tensor) -> Tensor:
        if len(images):
            return run(images, masks)
        return torch.zeros((0, 2, *masks.shape[1:]) if segmenter.trust else masks.shape, device=masks.device)

    return predict


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
    _require_onnx("the export")
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


def cached_export(segmenter: PatchSegmenter, cache: Path) -> Path:
    """The network as ONNX in ``cache``, exported if it is not there; the name is a digest of weights and config."""
    state = hashlib.blake2b(f"{LAYOUT} {segmenter.config} {torch.__version__}".encode(), digest_size=16)
    for name, value in segmenter.state_dict().items():
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().numpy().tobytes())
    path = cache / f"{state.hexdigest()}.onnx"
    if not path.exists():
        export_onnx(segmenter, path)
    return path


class _OnnxNetwork:
    """An exported network, as a `Predict`: on a CPU, each thread runs patches of its own.

    Threads that share the work of one call wait for each other after every operation: half as much CPU time again.

    Args:
        path: The export.
        device: A CPU, of which it takes torch's number of threads, or a GPU.

    Raises:
        SettingError: If ONNX Runtime cannot use the GPU.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        import onnxruntime

        on_cpu, options = device.type == "cpu", onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        provider = _CPU if on_cpu else (_GPU, {"device_id": device.index or 0})
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        if not on_cpu and self._session.get_providers()[0] != _GPU:  # its CUDA libraries are missing
            raise SettingError(_NO_GPU.format(device=device))
        self._threads = torch.get_num_threads() if on_cpu else 1
        self._pool = ThreadPool(self._threads)  # unlike an executor, it still works when the main thread has ended

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        if self._threads == 1:
            return self._run(images, masks)
        parts = (torch.tensor_split(patches, min(self._threads, len(images))) for patches in (images, masks))
        return torch.cat(self._pool.starmap(self._run, zip(*parts, strict=True), chunksize=1))

    def _run(self, images: Tensor, masks: Tensor) -> Tensor:
        arrays = {"images": images.cpu().contiguous().numpy(), "masks": masks.bool().cpu().contiguous().numpy()}
        return torch.from_numpy(self._session.run(None, arrays)[0])


def _require_onnx(what: str) -> None:
    """Raise SettingError, which names them, if packages of the extra ``onnx`` are not installed."""
    missing = [package for package in _PACKAGES if not find_spec(package)]
    if missing:
        raise SettingError(f"{what} needs {', '.join(missing)}: pip install 'bpr[onnx]'")
