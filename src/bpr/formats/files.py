"""List files without the hidden ones, and write files so that an interruption leaves the old one whole."""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast


def visible_files(folder: Path) -> list[Path]:
    """Files at any depth below a folder, in the order of their paths; none if there is no such folder.

    What starts with a dot is left out, as are files in folders that do: macOS' ``._NAME``, for one, has the suffix of
    an image but is none.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; what was written there becomes ``path`` at the end of the block.

    The folder is made if it is missing. Processes that write the same file at the same time do not meet.

    Raises:
        OSError: If the file cannot be written; an older ``path`` is then still whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def open_text(path: Path, gzipped: bool) -> IO[str]:
    """A UTF-8 file to write to, gzipped or not."""
    return cast(IO[str], gzip.open(path, "wt", encoding="utf-8") if gzipped else path.open("w", encoding="utf-8"))
