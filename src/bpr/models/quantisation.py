"""A converted network in int8, as ``backend=openvino_int8`` runs it: quantised by NNCF from patches, kept on disk."""

import contextlib
import hashlib
import io
import logging
import re
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from bpr.formats.files import write_text
from bpr.models.openvino_network import OpenVinoNetwork, import_openvino, ir_name, ir_of, without_telemetry, write_ir
from bpr.models.segmenter import PatchSegmenter
from bpr.patches.cutting import Crops
from bpr.structures import SettingError

KEPT: Final = (r".*fuse_layers.*", r".*head\..*")
"""Operations that stay in float32, by regular expressions for their names in the IR; see ``docs/speed.md``."""
PATCHES: Final = 150
"""Of each round, to calibrate with, at most; as many more are held back, where there are."""

_DEMO: Final = f"int8-demo-{PATCHES}-{'|'.join(KEPT)}"
_log = logging.getLogger(__name__)

Patches: TypeAlias = Sequence[Crops]
"""Batches; those of one have the same side."""


def int8_folder(segmenter: PatchSegmenter, cache: Path) -> Path:
    """Where the quantised network is: calibrated as `calibrate` last did, else with the demo, if need be later.

    Raises:
        SettingError: If it is not there and NNCF is not installed.
    """
    weights = ir_name(segmenter)
    chosen = cache / f"{weights}-int8"
    if chosen.is_file() and (cache / chosen.read_text(encoding="ascii")).is_dir():
        return cache / chosen.read_text(encoding="ascii")
    folder = cache / f"{weights}-{_digest(_DEMO.encode())}"
    if not folder.is_dir():
        check_nncf("backend=openvino_int8")
    return folder


def check_nncf(what: str) -> None:
    """Raise SettingError, which names the remedy, unless ``what`` has NNCF."""
    if not find_spec("nncf"):
        raise SettingError(f"{what} needs nncf: pip install -e '.[openvino-int8]'")


def int8_ir_of(segmenter: PatchSegmenter, cache: Path) -> Path:
    """The quantised network as OpenVINO IR in `int8_folder`; what is not there is made from patches of the demo."""
    folder = int8_folder(segmenter, cache)
    if not folder.is_dir():
        _log.warning("quantising the network for backend=openvino_int8, once: about a minute")
        from bpr.models.calibration import demo_patches  # the demo and all that reads data, only needed once

        calibration, _ = demo_patches(segmenter)
        write_ir(quantise(ir_of(segmenter, cache), calibration, KEPT), folder)
    return folder / "network.xml"


def calibrate(segmenter: PatchSegmenter, patches: Patches, cache: Path, kept: Sequence[str] = KEPT) -> Path:
    """Quantise a network, and have ``backend=openvino_int8`` use it from now on.

    Args:
        segmenter: In eval mode; not modified.
        patches: To calibrate with.
        cache: Where it is kept, in a folder named by a digest of weights, patches and ``kept``.
        kept: As `KEPT`.

    Returns:
        The IR.
    """
    pixels = (part.tobytes() for crops in patches for part in crops)
    weights = ir_name(segmenter)
    folder = cache / f"{weights}-{_digest(' '.join(kept).encode(), *pixels)}"
    if not folder.is_dir():
        write_ir(quantise(ir_of(segmenter, cache), patches, kept), folder)
    write_text(cache / f"{weights}-int8", folder.name)
    return folder / "network.xml"


def quantise(network: Path, patches: Patches, kept: Sequence[str]) -> Any:
    """The IR ``network`` in int8, but for what is ``kept``, by post-training quantisation, as an `openvino.Model`.

    Raises:
        SettingError: If there are no patches, NNCF is not installed, or nothing has a name as of ``kept``.
    """
    check_nncf("quantisation")
    if not patches:
        raise SettingError("there are no patches to calibrate with: give predictions whose masks have a boundary")
    nncf = without_telemetry("nncf")
    nncf.set_log_level(logging.ERROR)
    model = import_openvino().Core().read_model(str(network))
    names = [operation.get_friendly_name() for operation in model.get_ops()]
    for pattern in kept:
        if not any(re.match(pattern, name) for name in names):
            raise SettingError(f"no operation of the network has a name like {pattern}, which is to be kept")
    scope = nncf.IgnoredScope(patterns=list(kept), validate=False) if kept else None
    data = nncf.Dataset([[np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y] for x, y in patches])
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(
            model, data, target_device=nncf.TargetDevice.CPU, subset_size=len(patches), ignored_scope=scope
        )


def compare(int8: Path, float32: Path, patches: Patches) -> str:
    """How many pixels both networks put on the same side of 0.5, and how fast they are, in words; one line.

    The fastest of three passes over each batch counts, taken alternately.
    """
    networks = [OpenVinoNetwork(path, "f32", torch.get_num_threads()) for path in (int8, float32)]
    equal: dict[int, list[float]] = {}
    taken = np.zeros(2)
    for crops in patches:
        given = torch.from_numpy(crops.images).permute(0, 3, 1, 2), torch.from_numpy(crops.masks)
        times = np.full(2, np.inf)
        for _ in range(3):
            answers = []
            for number, network in enumerate(networks):
                start = time.perf_counter()
                answers.append(network.start(*given)())
                times[number] = min(times[number], time.perf_counter() - start)
        taken += times
        first, second = (answer if answer.ndim == 3 else answer[:, 0] for answer in answers)
        same = ((first > 0.5) == (second > 0.5)).float().mean(dim=(1, 2))
        equal.setdefault(crops.masks.shape[1], []).extend(same.tolist())
    shares = ", ".join(f"{100 * np.mean(same):.2f} % at {side} px ({len(same)})" for side, same in equal.items())
    return f"pixels equal to float32's in patches of other images: {shares}; {taken[1] / taken[0]:.2f} times as fast"


def _digest(*parts: bytes) -> str:
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part)
    return state.hexdigest()
