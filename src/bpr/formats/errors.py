"""The one error that bad input files raise."""

from pathlib import Path


class FormatError(ValueError):
    """A file that cannot be used; the message names the file, the entry in it, and what to do.

    Args:
        path: The file.
        where: The entry in it, such as ``entry 17``; None if it is the whole file.
        problem: What was expected, what came, how to fix it.
    """

    def __init__(self, path: Path, where: str | None, problem: str) -> None:
        super().__init__(f"{path}{', ' + where if where else ''}: {problem}")
        self.path, self.where = path, where
