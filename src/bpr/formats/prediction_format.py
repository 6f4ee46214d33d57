"""What a format of predictions has to offer; each module of a format ends with one."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bpr.formats.entries import Entry
from bpr.formats.faults import Faults


class Content(NamedTuple):
    """What was read: an entry for each prediction, and remarks for the user, a line each."""

    entries: Sequence[Entry]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PredictionFormat:
    """How predictions are read, and written with other masks.

    Attributes:
        name: As in ``format=NAME``.
        suffix: Of what is written; empty for a folder.
        read: Entries of a file or folder, as of `bpr.formats.coco.open_results`. `StoredEntries` are not in memory. The
            other arguments are those of `bpr.formats.predictions.read_predictions`.
        write: Writes all entries to a file or folder; last comes what they were read from. What is no entry there,
            because `Faults` left it, comes back as it is. It may give remarks on what was written, a line each.
        place: The file that holds an entry, and where in it; of the predictions, the number of the entry, and itself.
        dilation_ratio: Usual one of Boundary AP for data sets in this format.
        png_folder: Of a file, the folder of images that belongs to it; None without one.
        masks_checked: Whether each mask has been drawn or read from an image, so that only its size can be wrong.
        has_classes: Whether predictions have a class.
        names_images: Whether images are known by name and not by the ids of an annotation file.
        class_names: Of formats with classes of their own, by the ids in the entries.
    """

    name: str
    suffix: str
    read: Callable[[Path, Callable[[], Collection[str]], int | None, Faults], Content]
    write: Callable[[Path, Iterable[Mapping[str, Any]], Path], tuple[str, ...] | None]
    place: Callable[[Path, int, Mapping[str, Any]], tuple[Path, str | None]]
    dilation_ratio: float = 0.02
    png_folder: Callable[[Path], Path] | None = None
    masks_checked: bool = False
    has_classes: bool = True
    names_images: bool = False
    class_names: Mapping[int, str] = field(default_factory=dict)
