"""What determines the masks of a run, digested: a run is resumed only with the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bpr.data.inputs import RefinementInput
from bpr.formats.files import reading
from bpr.refine.settings import RefineSettings
from bpr.structures import Backend, Round


def digest(settings: Mapping[str, Any]) -> str:
    """``NAME=DIGEST`` of each setting, separated by spaces, so that it can be said which of them differ."""
    digests = {name: hashlib.blake2b(json.dumps(value).encode(), digest_size=8) for name, value in settings.items()}
    return " ".join(f"{name}={digest.hexdigest()}" for name, digest in digests.items())


def what_counts(
    settings: RefineSettings,
    given: RefinementInput,
    checkpoint: Path,
    backend: Backend,
    rounds: Sequence[Round],
    precision: str,
    quantised: str | None = None,
) -> dict[str, Any]:
    """What determines the masks but for the pixels of the images, by the names that people know it by.

    Of those, which may be among the files of the predictions, each line of a shard has the `image_state`, so that an
    image that was not refined may be repaired. ``quantised`` names the network that is run, where it is another than
    that of ``checkpoint``.
    """
    beside, images = given.predictions.path.parent, [path.resolve() for path in given.records.paths]
    read = {*images}
    files = [path for path in given.predictions.files() if path.resolve() not in read]
    return {
        "predictions": [
            (path.relative_to(beside).as_posix(), given.predictions.content or _content(path)) for path in files
        ],
        "ckpt": _content(checkpoint),
        "images": [*zip(given.records.image_ids, map(str, images), strict=True)],
        "format": given.predictions.format.name,
        "backend": backend,
        **({} if quantised is None else {"calibration": quantised}),
        "rounds": rounds,
        "precision": precision,
        **{
            name: getattr(settings, name)
            for name in ("ignore_label", "crowds", "exif", "min_score", "input_size", "flip", "trust", "threshold")
        },
        **{f"patch.{name}": value for name, value in asdict(settings.patch).items()},
    }


def image_state(path: Path) -> list[int]:
    """What is compared of an image that was refined: bytes, and time of its last change in ns; -1 if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]


def _content(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
