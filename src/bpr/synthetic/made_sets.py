"""Data sets that are made on this machine at first use: whole, or not there at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_NAMES = ("images", "instances.json", "coarse.json", "complete.json", "cityscapes")
"""What may be in the folder of a set; the last one is of older versions."""


@dataclass(frozen=True, slots=True)
class MadeSet:
    """Where a set is: a folder of images, COCO annotations, and COCO results with coarse masks."""

    images: Path
    annotations: Path
    predictions: Path

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The files of the set in ``folder``."""
        return cls(folder / "images", folder / "instances.json", folder / "coarse.json")


def make_set(folder: Path, version: int, build: Callable[[MadeSet], None]) -> MadeSet:
    """Have the set ``folder`` built, unless it is there already.

    It is built in a hidden folder beside it and renamed at the end; several processes may do so at the same time. A
    set that is incomplete, or of another version, is replaced.

    Args:
        folder: Of the set.
        version: Of what ``build`` makes.
        build: Writes all files of a set, of which only the folder of the images exists.

    Raises:
        FileExistsError: If the folder has files that are not of such a set; they are left alone.
    """
    files = MadeSet.of(folder)
    if _is_complete(folder, version):
        return files
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(_NAMES)):
        raise FileExistsError(f"{folder} is no demo set of bpr; move it away, or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
        built, replaced = Path(unfinished) / "built", Path(unfinished) / "replaced"
        unnamed = MadeSet.of(built)
        unnamed.images.mkdir(parents=True)
        build(unnamed)
        (built / "complete.json").write_text(json.dumps(_stamp(built, version)), encoding="utf-8")
        if not _is_complete(folder, version):
            with contextlib.suppress(FileNotFoundError):  # nothing to replace
                os.rename(folder, replaced)
            try:
                os.rename(built, folder)
            except OSError:
                if not _is_complete(folder, version):  # else another process was faster, with the same files
                    raise
    return files


def _is_complete(folder: Path, version: int) -> bool:
    try:
        stamp = json.loads((folder / "complete.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or cut off: then the set is made anew
        return False
    return bool(stamp == _stamp(folder, version))


def _stamp(folder: Path, version: int) -> dict[str, int]:
    """What the last file of a complete set says: the version and the number of files."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "complete.json"]
    return {"version": version, "files": len(files)}
