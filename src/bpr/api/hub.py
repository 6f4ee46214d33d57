"""What `Refiner.save_pretrained` writes, and how it is read again: in a folder, or on the Hugging Face Hub."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from bpr.formats.files import write_text
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import SUFFIXES, CheckpointError, save_segmenter
from bpr.patches.engine import Method
from bpr.structures import PatchSpec, Round

WEIGHTS_NAME: Final = "model.safetensors"
CONFIG_NAME: Final = "config.json"
"""A JSON object: ``patch`` with the fields of `PatchSpec`, and ``rounds`` and ``flip`` as of `Method`."""
CARD_NAME: Final = "README.md"

CLIENT_OPTIONS: Final[tuple[str, ...]] = ("revision", "cache_dir", "force_download", "local_files_only", "token")
"""Options of `huggingface_hub.hf_hub_download` that `Refiner.from_pretrained` takes."""

_CARD: Final = """\
---
library_name: bpr
license: apache-2.0
tags:
- instance-masks
---

Weights of a boundary patch network, which refines instance masks of any segmenter:

    from bpr import Refiner

    refined = Refiner.from_pretrained("NAME OR FOLDER")(image, masks)

- Paper: https://arxiv.org/abs/2104.05239
"""


def is_hub_name(name: str | Path) -> bool:
    """Whether this is ``org/name``, and neither a file or folder nor meant as one by its suffix."""
    form = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name))
    return form is not None and Path(name).suffix not in SUFFIXES and not Path(name).exists()


def save(segmenter: PatchSegmenter, method: Method, folder: Path) -> None:
    """Write weights, config and, unless there is one, a model card; nothing that belongs to the machine.

    What was saved in the folder before is replaced; if another kind of model is in it, that is a `FileExistsError`.
    """
    weights, config, card = folder / WEIGHTS_NAME, folder / CONFIG_NAME, folder / CARD_NAME
    ours = config.is_file() and '"patch"' in config.read_text(encoding="utf-8")
    if (weights.exists() or config.exists()) and not ours:
        raise FileExistsError(f"{folder}: holds another model, which is not replaced; give another folder")
    content = {"patch": asdict(method.spec), "rounds": method.rounds, "flip": method.flip}
    text = json.dumps(content, indent=2, sort_keys=True, default=np.generic.item)  # settings may be numbers of NumPy
    write_text(config, f"{text}\n")  # first: it says whose the weights are, should this be interrupted
    save_segmenter(segmenter, weights)
    if not card.exists():
        card.write_text(_CARD, encoding="utf-8")


def push(
    segmenter: PatchSegmenter, method: Method, name: str, private: bool | None, token: str | None, **options: Any
) -> str:
    """Upload what `save` writes as one commit, and return its URL; a model card that is there already is kept.

    Arguments as of `bpr.api.refiner.Refiner.push_to_hub`.
    """
    from huggingface_hub import HfApi  # more than half of what `from bpr import Refiner` would take beside torch

    client = HfApi(token=token)
    repository = client.create_repo(name, private=private, exist_ok=True).repo_id
    with TemporaryDirectory() as folder:
        save(segmenter, method, Path(folder))
        if client.file_exists(repository, CARD_NAME, revision=options.get("revision")):
            Path(folder, CARD_NAME).unlink()
        return str(client.upload_folder(repo_id=repository, folder_path=folder, **options))


def fetch(name: str | Path, file: str, client: Mapping[str, Any]) -> Path:
    """One of the files that `save` writes: in a folder, or on the hub, downloaded unless it is in the hub's cache.

    ``client`` has some of `CLIENT_OPTIONS`. `CheckpointError` if there is no such file, or the hub is unreachable.
    """
    if Path(name).is_dir():
        if not Path(name, file).is_file():
            raise CheckpointError(f"{name}: no {file} in it; give a folder that save_pretrained wrote, or a file")
        return Path(name, file)
    from huggingface_hub import hf_hub_download  # as in `push`
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(hf_hub_download(str(name), file, **client))
    except (OSError, HFValidationError) as error:  # all that the hub's client raises
        raise CheckpointError(
            f"{name}: no such file, no bundled weights of that name, and {file} could not be downloaded from the hub "
            f"({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error


def read_method(path: Path, patch: PatchSpec | None) -> tuple[PatchSpec, tuple[Round, ...], bool]:
    """Patches, rounds and flip of a config file; without rounds where an earlier version wrote it.

    `CheckpointError` if it holds unknown rounds, or no patches that `PatchSpec` takes and no other ``patch`` is given.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rounds = tuple(Round(name) for name in stored.get("rounds", ()))
        return patch or PatchSpec(**stored["patch"]), rounds, bool(stored.get("flip"))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: 'patch' must have fields of PatchSpec, {[field.name for field in fields(PatchSpec)]} "
            f"({type(error).__name__}: {error}); mend the file, or give patch=PatchSpec(...)"
        ) from error
