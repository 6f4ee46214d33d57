"""The one error that bad input files raise."""

from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why one entry or image cannot be used, though the file it is in can."""

    field = "a field is missing or wrong"
    no_mask = "there is no mask"
    mask = "the mask cannot be read"
    mask_size = "the mask has another size than its image"
    image_id = "the image id is unknown"
    image_missing = "the image is missing"
    image = "the image cannot be decoded"
    image_size = "the image has another size than its masks"


class FormatError(ValueError):
    """A file that cannot be used; the message names the file, the entry in it, and what to do.

    Args:
        path: The file.
        where: The entry in it, such as ``entry 17``; None if it is the whole file.
        problem: What was expected, what came, how to fix it. Without it, the message ends ``path``: torch makes the
            error of a worker process of a `DataLoader` again from nothing but the text of its traceback.
        reason: Which kind of problem it is, where `bpr.formats.faults.Faults.attempt` cannot know by itself.
    """

    def __init__(
        self, path: Path | str, where: str | None = None, problem: str | None = None, reason: Reason | None = None
    ) -> None:
        self.place, self.problem, self.reason = f"{path}{', ' + where if where else ''}", problem, reason
        if problem is None:
            super().__init__(str(path).rpartition(f"{type(self).__module__}.FormatError: ")[2].strip())
        else:
            super().__init__(f"{self.place}: {problem}")
