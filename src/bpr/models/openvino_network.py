"""A `PatchSegmenter` in OpenVINO: converted once, kept on disk, run by some threads."""

import hashlib
import os
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from importlib import import_module
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import BoundedSemaphore, local
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from bpr.models.prediction_network import ProbabilityNetwork
from bpr.models.segmenter import PatchSegmenter

LAYOUT: Final = "openvino-1"
"""Part of the names of converted networks: changed whenever the same network would be converted otherwise."""
_MOST_WAITING: Final = 16
"""Calls that may be under way at once, whose patches are held in memory."""


def import_openvino() -> ModuleType:
    """OpenVINO, imported `without_telemetry`."""
    return without_telemetry("openvino")


def without_telemetry(package: str) -> ModuleType:
    """Import OpenVINO or NNCF without what sends events to Google Analytics at each import unless it is absent."""
    name = "openvino_telemetry"
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        return import_module(package)
    finally:
        if sys.modules[name] is None:
            del sys.modules[name]


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 (AVX512-BF16, AMX); OpenVINO must be installed."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert(segmenter: PatchSegmenter) -> Any:
    """The network as an `openvino.Model`, normalisation and resizing included, for any number of patches of any side.

    Inputs are ``images`` (n, 3, s, s) uint8 RGB and ``masks`` (n, s, s) bool; the output is the probabilities
    (n, s, s) float32, or (n, 2, s, s) with the trust logits.

    Args:
        segmenter: In eval mode; not modified.
    """
    side = segmenter.input_size + 8  # another than the network's: else the resizing would not be traced
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False), torch.device("cpu"):
        warnings.simplefilter("ignore")  # of OpenVINO's own use of torch.jit, and of sizes that become constants
        example = torch.zeros(3, 3, side, side, dtype=torch.uint8), torch.zeros(3, side, side, dtype=torch.bool)
        return import_openvino().convert_model(ProbabilityNetwork(segmenter).cpu(), example_input=example)


def ir_of(segmenter: PatchSegmenter, cache: Path) -> Path:
    """The network as OpenVINO IR (``network.xml`` beside ``network.bin``) in ``cache``, converted if it is not there.

    Its folder is named by `ir_name`.
    """
    folder = cache / ir_name(segmenter)
    if not folder.exists():
        write_ir(convert(segmenter), folder)
    return folder / "network.xml"


def ir_name(segmenter: PatchSegmenter) -> str:
    """A digest of weights and config."""
    state = hashlib.blake2b(f"{LAYOUT} {segmenter.config} {torch.__version__}".encode(), digest_size=16)
    for name, value in segmenter.state_dict().items():
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def write_ir(model: Any, folder: Path) -> None:
    """Write a model as ``network.xml`` and ``network.bin`` of ``folder``, which is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
        built = Path(unfinished) / "built"
        built.mkdir()
        import_openvino().save_model(model, str(built / "network.xml"), compress_to_fp16=False)
        try:
            os.rename(built, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


class OpenVinoNetwork:
    """A converted network on the CPU: each thread runs patches of its own.

    Threads that share the work of one call wait for each other after every operation.

    Args:
        path: The IR.
        precision: ``f32`` or ``bf16``; OpenVINO would otherwise choose by the processor.
        threads: How many.
    """

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        self._threads = threads
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads,
            "ENABLE_CPU_PINNING": False,  # several processes would have the same cores
        }
        self._compiled = import_openvino().Core().compile_model(str(path), "CPU", settings)
        self._own = local()
        with torch.device("cpu"):
            nothing = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.bool)
        _run(self._compiled, self._own, *nothing)  # see there
        self._room = BoundedSemaphore(_MOST_WAITING)
        if self._threads > 1:
            self._pool = ThreadPool(self._threads)  # unlike an executor, it still works when the main thread has ended
            weakref.finalize(self, _end, self._pool)

    def start(self, images: Tensor, masks: Tensor) -> Callable[[], Tensor]:
        """As `bpr.models.backends.Start`: with more than one thread, it does not wait for the network."""
        run, room = partial(_run, self._compiled, self._own), self._room  # without a reference to what ends the threads
        if self._threads == 1:
            answer = run(images, masks)
            return lambda: answer
        parts = (torch.tensor_split(patches, min(self._threads, len(images))) for patches in (images, masks))
        room.acquire()
        answers = self._pool.starmap_async(
            run, zip(*parts, strict=True), 1, lambda _: room.release(), lambda _: room.release()
        )
        return lambda: torch.cat(answers.get())


def _run(compiled: Any, own: local, images: Tensor, masks: Tensor) -> Tensor:
    """Run the patches by the request of this thread.

    Not by two threads the first time: OpenVINO's binding then waits for ever for what each prepares of numpy.
    """
    if not hasattr(own, "request"):
        own.request = compiled.create_infer_request()
    given = images.cpu().contiguous().numpy(), masks.bool().cpu().contiguous().numpy()
    return torch.from_numpy(own.request.infer(given)[0].copy())


def _end(pool: ThreadPool) -> None:
    """End the threads, each after what it is at: one that is left while Python ends may crash it."""
    pool.terminate()
    pool.join()
