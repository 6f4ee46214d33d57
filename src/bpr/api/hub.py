"""What `Refiner.save_pretrained` writes, and how it is read again: in a folder, or on the Hugging Face Hub."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from huggingface_hub import hf_hub_download

from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError, save_segmenter
from bpr.structures import PatchSpec, Placement

WEIGHTS_NAME: Final = "model.safetensors"
CONFIG_NAME: Final = "config.json"
"""A JSON object; ``patch`` has the fields of `PatchSpec`."""


def is_hub_name(name: str | Path) -> bool:
    """Whether this is ``org/name`` and no file or folder."""
    return str(name).count("/") == 1 and not Path(name).exists() and not Path(name).suffix


def write(segmenter: PatchSegmenter, patch: PatchSpec, folder: Path) -> None:
    """Write weights and config: what belongs to the network, nothing that belongs to the machine."""
    save_segmenter(segmenter, folder / WEIGHTS_NAME)
    text = json.dumps({"patch": asdict(patch)}, indent=2, sort_keys=True)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")


def weights_file(model_id: str, **client: Any) -> Path:
    """The weights in a folder, or those on the hub, fetched unless they are in its cache.

    Args:
        model_id: A folder, or ``org/name``.
        client: Options of `huggingface_hub.hf_hub_download`.

    Raises:
        OSError: If the hub cannot be had.
    """
    if Path(model_id).is_dir():
        return Path(model_id) / WEIGHTS_NAME
    return Path(hf_hub_download(model_id, WEIGHTS_NAME, **client))


def patch_of(stored: PatchSpec | Mapping[str, Any] | None) -> PatchSpec | None:
    """The patches that a config holds; what already is a `PatchSpec`, or None, stays as it is.

    Raises:
        CheckpointError: If the fields are not those of `PatchSpec`, or out of range.
    """
    if stored is None or isinstance(stored, PatchSpec):
        return stored
    try:
        return PatchSpec(**{**stored, "placement": Placement(stored.get("placement", Placement.nms))})
    except (TypeError, ValueError) as error:
        expected = [field.name for field in fields(PatchSpec)]
        raise CheckpointError(
            f"'patch' in {CONFIG_NAME} must have fields of PatchSpec, {expected}, got {stored} ({error}); "
            f"mend the file, or give patch=PatchSpec(...)"
        ) from error
