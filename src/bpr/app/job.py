"""An image and its masks as a page gets them: laid out as files, and read and written as ``refine.py`` does."""

import json
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from threading import Lock
from typing import Final, NamedTuple, Self

from PIL import Image as PillowImage

from bpr import rle as rle_codec
from bpr.api.refiner import Refiner
from bpr.cli.command import counted
from bpr.data.image_finder import SizesInFolder
from bpr.data.image_records import refinement_records
from bpr.data.images import read_image
from bpr.formats import sam_metadata
from bpr.formats.coco import refined_entry, xywh
from bpr.formats.entries import Entry
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Fault, Faults
from bpr.formats.files import visible_files
from bpr.formats.mask_images import MASK_SUFFIXES
from bpr.formats.predictions import Predictions, read_predictions
from bpr.structures import ImageRecord, Mask, OnError, Rle

REFINING: Final = Lock()
"""Held while the network runs, and by who ends the process, which torch would abort in the middle of a run."""
WRITING: Final = Lock()
"""Held while files are written below the folder of the page, and by who removes it."""
_MASKS_AT_ONCE: Final = 16
"""Between which a refinement may be stopped."""
_PIXELS_AT_ONCE: Final = 1 << 26
"""Of the dense masks that `Refiner` works on."""


class Upload(NamedTuple):
    """A file that was uploaded: where it is, and what its user calls it."""

    path: Path
    name: str

    def copy_to(self, folder: Path) -> Path:
        """Copy it to a folder, made if it is missing, by the last part of its name; `FormatError` if it has none."""
        own = PureWindowsPath(self.name).name  # neither / nor \ leads anywhere
        if not own.rsplit(".", 1)[0].strip("."):
            raise FormatError(repr(self.name), None, "is no name for a file; rename it")
        own = own.lstrip(".")  # nothing is hidden
        if (folder / own).exists():
            raise FormatError(own, None, "is the name of two files; rename one, or put both into a zip file")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(self.path, folder / own))


@dataclass(frozen=True, slots=True)
class Job:
    """An image and its masks, in ``image`` and ``masks`` of a folder of their own.

    Attributes:
        folder: That one.
        predictions: What is in ``masks``, all entries.
        record: The image, and its masks.
        faults: What stays as it came: bad masks, and those of other images.
        package: Name of the zip file in which the masks came, if they did.
    """

    folder: Path
    predictions: Predictions
    record: ImageRecord
    faults: tuple[Fault, ...]
    package: str | None = None

    @classmethod
    def of_uploads(cls, folder: Path, image: Upload, masks: Sequence[Upload]) -> Self:
        """From files of masks in any format that ``refine.py`` takes, or a zip file of a folder of them.

        Images of masks may have any name: they are put into a folder with that of the image.

        Raises:
            FormatError: If a file cannot be used, or there is no mask of the image.
        """
        picture, into = image.copy_to(folder / "image"), folder / "masks"
        if [Path(mask.name).suffix.lower() for mask in masks] == [".zip"]:
            try:
                with zipfile.ZipFile(masks[0].path) as package:
                    package.extractall(into)  # keeps to the folder, whatever the names
            except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise FormatError(masks[0].name, None, f"cannot be unpacked ({error}); pack it anew") from error
            return cls._read(folder, picture, PureWindowsPath(masks[0].name).name)
        if all(Path(mask.name).suffix.lower() in MASK_SUFFIXES for mask in masks if mask.name != sam_metadata.NAME):
            into /= picture.stem
        for mask in masks:
            mask.copy_to(into)
        return cls._read(folder, picture)

    @classmethod
    def of_drawing(cls, folder: Path, image: Upload, masks: Sequence[Mask], as_coco: bool = False) -> Self:
        """From masks, (h, w) bool, of the size of the image, as PNG files or as a COCO annotation file."""
        picture = image.copy_to(folder / "image")
        into = folder / "masks" / picture.stem
        into.mkdir(parents=True)
        if as_coco:
            text = json.dumps(_as_coco(picture.name, [rle_codec.encode(mask) for mask in masks]))
            (into / f"{picture.stem}.json").write_text(text, encoding="utf-8")
        else:
            for number, mask in enumerate(masks, 1):
                PillowImage.fromarray(mask).convert("L").save(into / f"{number}.png")
        return cls._read(folder, picture)

    @classmethod
    def _read(cls, folder: Path, image: Path, package: str | None = None) -> Self:
        files = visible_files(folder / "masks")
        listed = [file for file in files if {".json", ".jsonl"}.intersection(file.suffixes)]
        path, faults = listed[0] if len(listed) == 1 else folder / "masks", Faults(OnError.keep)
        found = read_predictions(path, image_sizes=lambda: SizesInFolder(image.parent, path), faults=faults)
        good = {n: entry for n, entry in enumerate(found.entries) if n not in faults.positions}
        name = image.name if len({found.image_id(entry) for entry in good.values()}) == 1 else None
        renamed = {n: _of_page(entry, name) for n, entry in good.items()}
        inside = replace(found, entries=[renamed.get(n, entry) for n, entry in enumerate(found.entries)])
        records = [one for one in refinement_records(image.parent, inside, faults=faults).usable if one.instances]
        if len(records) > 1:
            problem = f"has masks of {len(records)} images that may be {image.name}; keep those of one"
            raise FormatError(path, None, problem)
        if not records:
            first = next(iter(faults.found), Fault("", str(path), f"has no mask of {image.name}"))
            raise FormatError(first.place, None, _problem(first))
        return cls(folder, found, records[0], tuple(faults.found), package)

    @property
    def rles(self) -> list[Rle]:
        """The masks of the image."""
        return [instance.rle for instance in self.record.instances]

    @property
    def left(self) -> list[str]:
        """What stays as it came, a line for each reason."""
        lines = []
        for reason in dict.fromkeys(fault.reason for fault in self.faults):
            alike = [fault for fault in self.faults if fault.reason == reason]
            count = sum(fault.masks for fault in alike)
            lines.append(f"{counted(count, 'mask')} left as before: {reason} ({alike[0].place}: {_problem(alike[0])})")
        return lines

    def refine(
        self, refiner: Refiner, threshold: float, progress: Callable[[int, int, int], None]
    ) -> Iterator[list[Rle]]:
        """Yield the refined masks, in the same order, some at a time; whoever stops in between stops the work.

        ``progress`` is called after each pass of the network with the number of masks that are done, and of patches
        that are done and in all, of the round and the masks that are refined together.
        """
        height, width = self.record.size
        pixels, rles = read_image(self.record.path, self.record.size, self.record.exif), self.rles
        together = min(max(_PIXELS_AT_ONCE // (height * width), 1), _MASKS_AT_ONCE)
        for start in range(0, len(rles), together):
            with REFINING:
                refined = refiner(pixels, rles[start : start + together], threshold, progress=partial(progress, start))
            yield refined

    def write(self, refined: Sequence[Rle]) -> tuple[Path, tuple[str, ...]]:
        """Write all entries, with these masks of the image, in the form that they came in, and remarks.

        A single file keeps its name; several, and what came in a zip file, become a zip file.
        """
        entries: list[Entry] = list(self.predictions.entries)
        for instance, rle in zip(self.record.instances, refined, strict=True):
            if not rle_codec.is_same(instance.rle, rle):
                entries[instance.position] = refined_entry(entries[instance.position], rle)
        target = self.folder / "refined"
        target.mkdir()
        notes = self.predictions.write(target / self.predictions.path.relative_to(self.folder / "masks"), entries)
        files = visible_files(target)
        if len(files) == 1 and self.package is None:
            return files[0], notes
        name = self.folder / (self.package or f"{self.record.path.stem}.zip")
        return Path(shutil.make_archive(str(name.with_suffix("")), "zip", target)), notes


def _as_coco(file_name: str, rles: Sequence[Rle]) -> dict[str, object]:
    """A COCO annotation file of one image and one class."""
    height, width = rles[0]["size"]
    common = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    annotations = [
        {"id": number, **common, "segmentation": rle, "bbox": xywh(rle), "area": rle_codec.area(rle)}
        for number, rle in enumerate(rles, 1)
    ]
    image = {"id": 1, "file_name": file_name, "height": height, "width": width}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def _problem(fault: Fault) -> str:
    """What is wrong, with a remedy that the page has."""
    if fault.reason != Reason.image_id:
        return fault.problem
    return f"{fault.problem.partition(';')[0]}; rename the image such that its name is the id, or ends in it"


def _of_page(entry: Entry, image: str | None) -> Entry:
    """An entry whose ``file_name``, else ``image``, leads into no other folder of this machine than the image's."""
    name = entry.get("file_name") or image
    return {**entry, "file_name": PureWindowsPath(name).name} if isinstance(name, str) else entry
