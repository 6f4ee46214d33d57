"""The one error that bad input files raise."""

from pathlib import Path


class FormatError(ValueError):
    """A file that cannot be used; the message names the file, the entry in it, and what to do.

    Args:
        path: The file.
        where: The entry in it, such as ``entry 17``; None if it is the whole file.
        problem: What was expected, what came, how to fix it. Without it, the message ends ``path``: torch makes the
            error of a worker process of a `DataLoader` again from nothing but the text of its traceback.
    """

    def __init__(self, path: Path | str, where: str | None = None, problem: str | None = None) -> None:
        if problem is None:
            super().__init__(str(path).rpartition(f"{type(self).__module__}.FormatError: ")[2].strip())
        else:
            super().__init__(f"{path}{', ' + where if where else ''}: {problem}")
