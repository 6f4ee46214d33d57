"""Ways to run a trained `PatchSegmenter`: the same masks, at different speeds."""

import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bpr.models.openvino_network import OpenVinoNetwork, has_bfloat16, ir_of
from bpr.models.prediction_network import ProbabilityNetwork
from bpr.models.quantisation import int8_ir_of
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError
from bpr.patches.engine import Network
from bpr.structures import Backend, Probabilities, SettingError

Predict = Callable[[Tensor, Tensor], Tensor]
"""(n, 3, s, s) uint8 images and (n, s, s) bool masks -> (n, s, s) float32 probability of foreground; any n and s. Of a
network with trust, (n, 2, s, s): the trust logits are second."""
Start = Callable[[Tensor, Tensor], Callable[[], Tensor]]
"""Starts the network and returns a function that waits for the answer: until then, the next patches can be cut."""

WORTH_CONVERTING: Final = 500
"""Instances from which OpenVINO saves more time than it takes to convert a network: some 3,000 patches."""

_OPENVINO: Final = {Backend.openvino: "f32", Backend.openvino_bf16: "bf16", Backend.openvino_int8: "f32"}
"""Backends of OpenVINO, and the precision at which it computes what is not quantised."""


def cache_folder() -> Path:
    """Where this package keeps what it can make again: ``$BPR_CACHE``, else ``~/.cache/bpr``.

    ``conf/paths/default.yaml`` says the same for the scripts.
    """
    return Path(os.environ.get("BPR_CACHE") or Path.home() / ".cache" / "bpr")


def openvino_cache() -> Path:
    """Where networks that were converted for OpenVINO are kept by default."""
    return cache_folder() / "openvino"


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
    if backend not in _OPENVINO:
        return
    if not find_spec("openvino"):
        extra = "openvino-int8" if backend is Backend.openvino_int8 else "openvino"
        raise SettingError(f"backend={backend} needs openvino: pip install -e '.[{extra}]'")
    if device.type != "cpu":
        raise SettingError(f"backend={backend} runs on the CPU alone, not on {device}; use backend=eager or device=cpu")
    if backend is Backend.openvino_bf16 and not has_bfloat16():
        raise SettingError(f"backend={backend} needs a processor with bfloat16 (AVX512-BF16); use backend=openvino")


def choose_backend(device: torch.device, instances: int) -> Backend:
    """The backend expected to finish first, as measured by ``python -m bpr.benchmark``.

    On a CPU that is OpenVINO, if it is installed (extra ``openvino``) and there is enough to do to make up for the
    conversion of the network, in bfloat16 where the processor has that; else eager.
    Never int8, which costs some quality.

    Args:
        device: Where the network runs.
        instances: To refine.
    """
    if device.type != "cpu" or instances < WORTH_CONVERTING or not find_spec("openvino"):
        return Backend.eager
    return Backend.openvino_bf16 if has_bfloat16() else Backend.openvino


def best_patches_per_forward(device: torch.device) -> int:
    """How many patches the network sees at a time by default, as measured by ``python -m bpr.benchmark``.

    A CPU is faster with few, whose feature maps stay in its caches, than with many.
    """
    return 16 if device.type == "cpu" else 64


def make_start(segmenter: PatchSegmenter, backend: Backend, device: torch.device, cache: Path | None = None) -> Start:
    """A function that does what ``segmenter.foreground_probability`` does, and gives trust logits where it has them.

    Args:
        segmenter: In eval mode; not modified.
        backend: How to run it.
        device: Where it runs.
        cache: Folder for converted networks; by default `openvino_cache`. As many threads as torch has run them.

    Raises:
        SettingError: If the backend does not run on the device, or needs a package that is not installed.
    """
    check_backend(backend, device)
    start: Start
    if backend in _OPENVINO:
        ir = int8_ir_of if backend is Backend.openvino_int8 else ir_of
        path = ir(segmenter, cache or openvino_cache())
        start = _openvino_network(path, _OPENVINO[backend], torch.get_num_threads()).start
    else:
        network = ProbabilityNetwork(segmenter).to(device).to(memory_format=torch.channels_last)
        start = _started(torch.compile(network, dynamic=True) if backend is Backend.compile else network)

    def start_any(images: Tensor, masks: Tensor) -> Callable[[], Tensor]:
        if len(images):
            return start(images, masks)
        none = torch.zeros((0, 2, *masks.shape[1:]) if segmenter.trust else masks.shape, device=masks.device)
        return lambda: none

    return start_any


@lru_cache(2)
def _openvino_network(path: Path, precision: str, threads: int) -> OpenVinoNetwork:
    """One for all who run the same network alike: to compile it takes half a second of a core."""
    return OpenVinoNetwork(path, precision, threads)


def _started(predict: Predict) -> Start:
    """Torch runs by itself what a GPU has to do."""

    def start(images: Tensor, masks: Tensor) -> Callable[[], Tensor]:
        answer = predict(images, masks)
        return lambda: answer

    return start


def without_autocast(start: Start, device: torch.device) -> Start:
    """The same backend on ``device``, which computes as its weights are also where the caller is under autocast."""

    def start_plainly(images: Tensor, masks: Tensor) -> Callable[[], Tensor]:
        with torch.autocast(device.type, enabled=False):
            return start(images, masks)

    return start_plainly


def as_network(start: Start, device: torch.device) -> Network:
    """A backend as `bpr.patches.engine` runs it: arrays in, arrays out, without waiting for the network in between.

    Args:
        start: The backend.
        device: Where it runs.

    Returns:
        The network; its answers raise a `bpr.models.weights.CheckpointError` where a probability is not finite.
    """

    @torch.inference_mode()
    def network(images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Callable[[], Probabilities]:
        inputs = (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks))
        answer = start(*(part.to(device, non_blocking=True) for part in inputs))

        def wait() -> Probabilities:
            probabilities: Probabilities = answer().float().cpu().numpy()
            if not np.isfinite(probabilities).all():
                raise CheckpointError(
                    "the network gives probabilities that are not finite; use trainer.precision=32-true if it is "
                    "another one, else other weights"
                )
            return probabilities

        return wait

    return network
