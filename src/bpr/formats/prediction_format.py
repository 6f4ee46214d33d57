"""What a format of predictions has to offer; each module of a format ends with one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from bpr.formats.entries import Entry
from bpr.formats.faults import Faults
from bpr.structures import Size


class Listed(NamedTuple):
    """Names of images and of classes by their ids in the entries, of all in a file that have one."""

    images: Mapping[int | str, str] = {}
    classes: Mapping[int, str] = {}


NOTHING_LISTED: Final = Listed()


class Content(NamedTuple):
    """An entry for each prediction, and remarks for the user, a line each; all are there once the entries were read.

    ``listed`` has names, where the file lists images and classes by ids of its own.
    """

    entries: Sequence[Entry]
    notes: Sequence[str] = ()
    listed: Listed = NOTHING_LISTED


ImageSizes = Mapping[str, Size]
"""(h, w) of images by their names, relative to their folder and without suffix; perhaps not read before it is used."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How predictions are read; the attributes are arguments of `bpr.formats.predictions.read_predictions`."""

    image_sizes: Callable[[], ImageSizes] = dict
    ignore_label: int | None = None
    crowds: bool = False
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, slots=True)
class PredictionFormat:
    """How predictions are read, and written with other masks.

    Attributes:
        name: As in ``format=NAME``.
        suffix: Of what is written; empty for a folder, or for one file where one was read.
        read: Entries of a file or folder, as of `bpr.formats.coco.open_results`. `StoredEntries` are not in memory.
        write: Writes all entries to a file or folder; last comes what they were read from. What is no entry there,
            because `Faults` left it, comes back as it is. It may give remarks on what was written, a line each. Of a
            format that ``has_polygons``, it also takes ``tolerance``.
        place: The file that holds an entry of the predictions, and where in it. None: in theirs, by its number.
        dilation_ratio: Usual one of Boundary AP for data sets in this format.
        png_folder: Of a file, the folder of images that belongs to it; None without one.
        masks_checked: Whether each mask has been drawn or read from an image, so that only its size can be wrong.
        has_classes: Whether predictions have a class.
        has_polygons: Whether polygons are written, for which there is a ``polygon_tolerance``.
        names_images: Whether images are known by name and not by the ids of an annotation file.
        lists_images: Whether the file lists images and classes by ids of its own, perhaps with their names, which
            entries have as ``file_name`` and ``class_name``.
        image_of: Of formats of a file an image: the name of the image, relative to the file; None if it has none.
        class_names: Of formats with classes of their own, by the ids in the entries; where these depend on the files,
            entries have a ``class_name``.
    """

    name: str
    suffix: str
    read: Callable[[Path, Reading], Content]
    write: Callable[..., tuple[str, ...] | None]
    place: Callable[[Path, Mapping[str, Any]], tuple[Path, str | None]] | None = None
    dilation_ratio: float = 0.02
    png_folder: Callable[[Path], Path] | None = None
    masks_checked: bool = False
    has_classes: bool = True
    has_polygons: bool = False
    names_images: bool = False
    lists_images: bool = False
    image_of: Callable[[Path], str | None] | None = None
    class_names: Mapping[int, str] = field(default_factory=dict)
