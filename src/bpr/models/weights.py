"""Files that hold a `PatchSegmenter`: Lightning checkpoints, the authors' released ones, safetensors.

Nothing in a file is ever executed: pickles are read with ``weights_only=True``.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bpr.formats.files import replacing
from bpr.models.segmenter import PatchSegmenter, check_input_size

PREFIX: Final = "segmenter."
"""What our Lightning module puts before the names of the network's parameters."""

METADATA_KEY: Final = "segmenter"
"""Where the network's config is: JSON in safetensors metadata, a dict in Lightning's ``hyper_parameters``."""

_RELEASED_NAMES: Final = {
    "backbone.conv1.image.weight": "backbone.conv1.weight",
    "backbone.conv1.mask.weight": "backbone.conv_mask.weight",
}
"""Ours -> released, where they differ."""

_RELEASED_NETWORKS: Final = {270: ("hrnet_w18_small_v2", 128), 720: ("hrnet_w48", 256)}
"""Channels of the head -> backbone and input size, for the networks that the authors released."""

SUFFIXES: Final = (".ckpt", ".pth", ".safetensors")
"""Of the files that are understood."""

_SHIPPED: Final = Path(__file__).parent / "shipped"
_COUNTER: Final = "num_batches_tracked"
_SHOWN: Final = 3


class CheckpointError(ValueError):
    """A file that does not hold a `PatchSegmenter`."""


def resolve_checkpoint(name: str | Path) -> Path:
    """The file of a checkpoint that is given by its path, or by the name of bundled weights.

    Raises:
        CheckpointError: If it is neither, or the bundled file is not the one that was shipped.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise CheckpointError(f"{name}: is a folder; give a file in it")
    bundled = bundled_weights()
    if str(name) not in bundled:
        raise CheckpointError(f"{name}: no such file, and no bundled weights of that name; there are {[*bundled]}")
    _check_sum(bundled[str(name)])
    return bundled[str(name)]


def _check_sum(path: Path) -> None:
    """Raise CheckpointError unless bundled weights have their sum in ``SHA256SUMS``."""
    with path.open("rb") as file:
        line = f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}"
    if line not in (path.parent / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        raise CheckpointError(f"{path}: is not the file that was shipped, by its SHA-256; install bpr again")


def bundled_weights() -> dict[str, Path]:
    """The files of the weights that come with the package, by name."""
    return {file.stem: file for file in sorted(_SHIPPED.glob("*.safetensors"))}


def load_segmenter(
    path: str | Path,
    input_size: int | None = None,
    trust: bool | None = None,
    pretrained: bool = False,  # noqa: ARG001 (as of `PatchSegmenter`)
) -> PatchSegmenter:
    """Return the network in ``path``, in eval mode, float32, on the CPU.

    Three kinds of files are understood: Lightning checkpoints of this project (``state_dict`` with the prefix
    ``segmenter.``, config in ``hyper_parameters["segmenter"]``), the ``.pth`` files that the paper's authors
    released (HRNet-18s and HRNet-48; also with the prefix ``module.`` of a distributed run), and
    ``.safetensors`` written by `save_segmenter`.

    Args:
        path: The file.
        input_size: Network input size in pixels; None takes the one in the file (for a released file, which
            does not say: 128 for HRNet-18s and 256 for HRNet-48).
        trust: True gives the network a trust output also where the file has none, to train it; False leaves it out.
        pretrained: Has no effect, since all weights are those of the file: configurations such as ``debug=fast`` say it
            of any network.

    Raises:
        ValueError: If ``input_size`` is no positive multiple of 32.
        CheckpointError: If the file is missing, unreadable, has another layout or holds values that are not finite.
    """
    if input_size is not None:
        check_input_size(input_size)
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a .ckpt, .pth or .safetensors file")
    segmenter = _read(path, input_size)
    return segmenter if trust is None else change_trust(segmenter, trust)


def _segmenter(config: Mapping[str, Any]) -> PatchSegmenter:
    """A network of this config, float32 on the CPU, whatever the caller has made the default of torch."""
    with torch.device("cpu"):
        return PatchSegmenter(**config).float()


def change_trust(segmenter: PatchSegmenter, trust: bool) -> PatchSegmenter:
    """The network with or without a trust output, in eval mode; itself if it is so already. A new one is undecided."""
    if trust == segmenter.trust:
        return segmenter
    changed = _segmenter({**segmenter.config, "trust": trust})
    changed.load_state_dict(segmenter.state_dict(), strict=False)  # they differ in the trust output alone
    return changed.eval()


def _read(path: Path, input_size: int | None) -> PatchSegmenter:
    if path.suffix == ".safetensors":
        entries, config = _read_safetensors(path)
        return _build(path, entries, config, input_size, {})
    contents = _read_pickle(path)
    if "hyper_parameters" in contents or any(str(key).startswith(PREFIX) for key in _entries(path, contents)):
        return _load_lightning(path, contents, input_size)
    return _load_released(path, contents, input_size)


def save_segmenter(segmenter: PatchSegmenter, path: str | Path, half: bool = False) -> None:
    """Write weights and config of ``segmenter`` to one safetensors file that `load_segmenter` reads.

    Args:
        segmenter: The network; not modified.
        path: The file, ending in ``.safetensors``; replaced if it exists, never left half written.
        half: Store filters as float16. Vectors (batch statistics, biases) keep their dtype: they are few, and
            a running variance may lie outside the range of float16.

    Raises:
        ValueError: If ``path`` has another suffix, or a filter does not fit into float16.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a name that ends in .safetensors")
    tensors = {}
    for name, tensor in segmenter.state_dict().items():
        stored = tensor.half() if half and tensor.ndim > 1 else tensor
        if not bool(torch.isfinite(stored).all()):
            raise ValueError(f"{name} holds values that are not finite in {stored.dtype}; {path} is not written")
        tensors[name] = stored.detach().cpu().contiguous()
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata={METADATA_KEY: json.dumps(segmenter.config)})


def _load_lightning(path: Path, contents: Mapping[str, Any], input_size: int | None) -> PatchSegmenter:
    """Return the network of one of our Lightning checkpoints; its other parts (metrics) do not matter."""
    entries = _entries(path, contents)
    entries = {name.removeprefix(PREFIX): value for name, value in entries.items() if name.startswith(PREFIX)}
    hyper_parameters = contents.get("hyper_parameters")
    config = hyper_parameters.get(METADATA_KEY) if isinstance(hyper_parameters, Mapping) else None
    if not isinstance(config, Mapping):
        raise CheckpointError(
            f'{path}: no network config in hyper_parameters["{METADATA_KEY}"]; use a checkpoint of train.py'
        )
    return _build(path, entries, config, input_size, {})


def _load_released(path: Path, contents: Mapping[str, Any], input_size: int | None) -> PatchSegmenter:
    """Return the network of a file in the layout of the authors' release."""
    entries = _entries(path, contents)
    if entries and all(name.startswith("module.") for name in entries):
        entries = {name.removeprefix("module."): value for name, value in entries.items()}
    classifier = entries.get("decode_head.conv_seg.weight")
    channels = classifier.shape[1] if classifier is not None and classifier.ndim == 4 else 0
    # For an unknown layout the smaller network serves to name what is missing.
    backbone, default_size = _RELEASED_NETWORKS.get(channels, _RELEASED_NETWORKS[270])
    config = {"backbone": backbone, "input_size": default_size}
    return _build(path, entries, config, input_size, _RELEASED_NAMES)


def _build(
    path: Path,
    entries: Mapping[str, Tensor],
    config: Mapping[str, Any],
    input_size: int | None,
    names: Mapping[str, str],
) -> PatchSegmenter:
    """Return the network of ``config`` with the weights ``entries``; ``names``: ours -> the file's."""
    overrides = {"pretrained": False} if input_size is None else {"pretrained": False, "input_size": input_size}
    try:
        segmenter = _segmenter({**config, **overrides})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the config in it, {dict(config)}, builds no network: {error}") from error
    expected = {names.get(name, name): tensor for name, tensor in segmenter.state_dict().items()}
    _check_layout(path, entries, expected)
    _check_finite(path, entries)
    ours = {theirs: name for name, theirs in names.items()}
    # Counters are absent from files older than torch 0.4.1. Batch norm needs them only where its momentum is
    # None, which is nowhere here, so that a missing one may stay 0. All else must be there.
    counters = {name: value for name, value in expected.items() if name.endswith(_COUNTER)}
    segmenter.load_state_dict({ours.get(name, name): value for name, value in {**counters, **entries}.items()})
    return segmenter.eval()


def _check_layout(path: Path, entries: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless ``entries`` has the names and shapes of ``expected``, counters aside."""
    missing = [name for name in expected if name not in entries and not name.endswith(_COUNTER)]
    unexpected = [name for name in entries if name not in expected]
    misshapen = [name for name in expected if name in entries and entries[name].shape != expected[name].shape]
    problems = [
        f"{len(found)} {kind} ({', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''})"
        for kind, found in (("missing", missing), ("unexpected", unexpected))
        if found
    ]
    if misshapen:
        first = misshapen[0]
        problems.append(
            f"{len(misshapen)} of another shape ({first}: expected {tuple(expected[first].shape)}, "
            f"got {tuple(entries[first].shape)})"
        )
    if problems:
        raise CheckpointError(
            f"{path}: its entries are not those of this network: {'; '.join(problems)}. Use a checkpoint of "
            "train.py, a .safetensors file of save_segmenter, or a .pth that the authors released (HRNet-18s "
            "or HRNet-48)"
        )


def _check_finite(path: Path, entries: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if an entry holds NaN or infinity: every mask would be decided by them, silently."""
    broken = [name for name, value in entries.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(
            f"{path}: {broken[0]} holds values that are not finite ({len(broken)} of {len(entries)} entries do): the "
            "training diverged or the file is damaged; use an earlier checkpoint, or copy the file again"
        )


def _entries(path: Path, contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, or of a bare state dict, by name."""
    entries = contents.get("state_dict", contents)
    if not isinstance(entries, Mapping) or not all(map(_is_plain, entries.values())):
        raise CheckpointError(f"{path}: no state_dict of tensors in it; give a .ckpt, .pth or .safetensors file")
    return {str(name): value for name, value in entries.items()}


def _is_plain(value: object) -> bool:
    """Whether it is a tensor with memory of its own: neither sparse, quantised nor without values."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_quantized or value.is_meta)


def _read_pickle(path: Path) -> Mapping[str, Any]:
    """Return the dict in a file written by ``torch.save``."""
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint, or one that holds more than tensors and plain values; it is not "
            "read, since that could run code. Save it again with its state_dict only"
        ) from error
    except Exception as error:  # torch checks little of what a damaged file says
        problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise CheckpointError(f"{path}: not a file of torch.save, or cut off ({problem}); copy it again") from error
    if not isinstance(contents, Mapping):
        raise CheckpointError(f"{path}: expected a dict with a state_dict, got {type(contents).__name__}")
    return contents


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and config of a file that `save_segmenter` wrote."""
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            metadata = opened.metadata() or {}
            entries = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        config = json.loads(metadata.get(METADATA_KEY, "null"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or cut off ({error}); copy it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f'{path}: no network config in its metadata ("{METADATA_KEY}"); use save_segmenter')
    return entries, config
