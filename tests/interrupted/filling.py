"""Disks that are too small, one after the other: a mounted one, or where none can be, a limit to the size of files."""

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stopping import forked

SIZE, FREE, LIMITS = 64 * 1024, (0, 4096), (600, 1000)
"""Bytes of the disk, bytes of it that are free in each attempt, and bytes of a file where there is only a limit."""


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Whether one could be mounted at a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    done = None if shutil.which("mount") is None else subprocess.run(command, check=False, capture_output=True)
    mounted = done is not None and done.returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            undo = ["umount", folder]
            subprocess.run(undo, check=True)


def filled(made: Path, log: Path, run: Callable[[], None], contents: Callable[[Path], Any]) -> dict[str, Any]:
    """How each attempt ended, and how the last one, for which room was made; and whether that left what it should."""
    shutil.rmtree(made)
    ends = [forked(run, log)]
    whole = contents(made)
    with small_disk(made) as mounted:
        for size in FREE if mounted else LIMITS:
            if mounted:
                (made / "filled").write_bytes(bytes(SIZE - size))
            else:
                limit = size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            work = run if mounted else lambda limit=limit: (resource.setrlimit(resource.RLIMIT_FSIZE, limit), run())
            ends.append([forked(work, log), log.read_text().splitlines()[-1]])
            (made / "filled").unlink(missing_ok=True)
        ends.append(forked(run, log))
        left = contents(made)
    return {"kind": "full", "mounted": mounted, "ends": ends, "problems": [] if left == whole else [sorted(left)]}
