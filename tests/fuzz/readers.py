"""Every reader of the package, with a good file or folder to break and the whole road that its content goes."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from bpr import rle
from bpr.data.image_finder import SizesInFolder
from bpr.data.image_records import refinement_records
from bpr.data.images import image_sizes, read_image
from bpr.formats.annotations import read_annotations
from bpr.formats.errors import FormatError
from bpr.formats.faults import Faults
from bpr.formats.format_detection import prediction_format
from bpr.formats.predictions import read_predictions
from bpr.models import weights
from bpr.structures import OnError, SettingError
from samples import MAKE, SIZE, make_coco_annotations, rectangle

CLOSED_LIST = (FormatError, weights.CheckpointError, SettingError, OSError)
"""All that a reader may raise."""
SLOWEST = 2
"""CPU seconds that a file of 100 kB may take; it takes less than one on a core that does nothing else."""


@dataclass(frozen=True)
class Reader:
    """A reader of the package.

    Attributes:
        make: Makes a good sample in an empty folder; gives the file or folder to be read.
        read: Reads it, and all that follows from it; whatever it writes goes below the folder that comes second.
        alone: Whether it reads each file of the sample by itself.
        format: Name of the format that the sample is in, of predictions.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path, Path], None]
    alone: bool = False
    format: str | None = None


class TinyNetwork(torch.nn.Linear):
    """Stands for the network, which takes a quarter of a second to build; `test_closed_list` builds it too."""

    def __init__(self, backbone: str = "", input_size: int = 32, pretrained: bool = False, trust: bool = False) -> None:
        super().__init__(2, 2)


def _make_predictions(variant: str, folder: Path) -> Path:
    (folder / "images").mkdir()
    for image in ("0.jpg", "a_1.jpg", "ulm_000000_000001_leftImg8bit.png"):
        Image.new("RGB", SIZE[::-1]).save(folder / "images" / image)
    return MAKE[variant](folder, ["0", "a_1"])


def _read_predictions(variant: str, path: Path, output: Path) -> None:
    if _refine(path, output, OnError.keep, None).found:
        _refine(path, output, OnError.stop, variant.partition(",")[0])


def _refine(path: Path, output: Path, on_error: OnError, name: str | None) -> Faults:
    """What ``refine.py`` does with files, but for the network."""
    images, faults = path.parent / "images", Faults(on_error)
    found = read_predictions(path, name, lambda: SizesInFolder(images, path), faults=faults)
    records = refinement_records(images, found, faults=faults)
    for record in records:
        for one in record.instances:
            rle.decode(one.rle, rle.bounding_box(one.rle))
    found.write(output / path.name, found.entries)
    return faults


def _make_annotations(folder: Path) -> Path:
    path = make_coco_annotations(folder, ["a", "b"])
    content = json.loads(path.read_text())
    for number, annotation in enumerate(content["annotations"]):
        content["annotations"][number] = {"category_id": 3, "area": 7.5, **annotation}
    content["categories"] = [{"id": 3, "name": "c"}]
    content["images"][0] |= {"neg_category_ids": [3], "not_exhaustive_category_ids": []}
    del content["images"][1]["file_name"]
    content["images"][1]["coco_url"] = "http://images/val2017/b.jpg"
    path.write_text(json.dumps(content))
    return path


def _make_ground_truth(folder: Path) -> Path:
    for number in (1, 2):
        ids = (rectangle(number) * (26_000 + number)).astype(np.uint16)
        ids[15:, 20:] = 24
        path = folder / "val" / "ulm" / f"ulm_000000_00000{number}_gtFine_instanceIds.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(path)
    return folder / "val"


def _read_annotations(path: Path, _output: Path) -> None:
    annotations = read_annotations(path)
    for image_id, image in annotations.images.items():
        annotations.id_of(str(image_id))
        annotations.id_of(image.file_name)
        for truth in image.truths:
            rle.decode(truth.rle, rle.bounding_box(truth.rle))


def _make_images(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 1
    image, images = Image.fromarray(values), folder / "images"
    images.mkdir()
    for suffix in ("jpg", "png", "webp", "bmp", "tif"):
        image.save(images / f"a.{suffix}", exif=exif)
    image.save(images / "b.tif", compression="tiff_lzw")
    Image.fromarray(values[..., 0].astype(np.uint16) * 257).save(images / "c.tif")
    Image.fromarray(values[..., 0].astype(np.float32)).save(images / "d.tif")
    image.convert("P").save(images / "e.png")
    image.convert("1").save(images / "f.png")
    return images


def _read_image(path: Path, _output: Path) -> None:
    size, _ = image_sizes(path)
    if size[0] * size[1] < 1 << 22:
        read_image(path, size)


def _make_checkpoint(suffix: str, folder: Path) -> Path:
    path, network = folder / f"w{suffix}", TinyNetwork()
    config = {"backbone": "hrnet_w18_small", "input_size": 32, "pretrained": False}
    entries = {name: value.detach() for name, value in network.state_dict().items()}
    if suffix == ".safetensors":
        save_file(entries, path, metadata={weights.METADATA_KEY: json.dumps(config)})
    elif suffix == ".ckpt":
        entries = {f"{weights.PREFIX}{name}": value for name, value in entries.items()}
        torch.save({"state_dict": entries, "hyper_parameters": {weights.METADATA_KEY: config}, "epoch": 3}, path)
    else:
        buffer = io.BytesIO()
        torch.save({"state_dict": entries}, buffer, _use_new_zipfile_serialization=False)
        path.write_bytes(buffer.getvalue())
    return path


def _read_checkpoint(path: Path, _output: Path) -> None:
    with patch.object(weights, "PatchSegmenter", TinyNetwork):
        weights.load_segmenter(path)


READERS = {
    **{
        name: Reader(partial(_make_predictions, name), partial(_read_predictions, name), format=name.partition(",")[0])
        for name in MAKE
    },
    "annotations": Reader(_make_annotations, _read_annotations),
    "ground_truth": Reader(_make_ground_truth, _read_annotations),
    "images": Reader(_make_images, _read_image, alone=True),
    **{
        name: Reader(partial(_make_checkpoint, f".{name}"), _read_checkpoint) for name in ("pth", "ckpt", "safetensors")
    },
}
"""By name."""


class Sample:
    """A good sample of a reader on disk, in which one file at a time is replaced."""

    def __init__(self, reader: str, folder: Path) -> None:
        self._folder, self._reader = folder, READERS[reader]
        (folder / "in").mkdir()
        self._path = self._reader.make(folder / "in")
        files = (path for path in sorted((folder / "in").rglob("*")) if path.is_file())
        self._files = [path for path in files if self._reader.alone or path.parent.name != "images"]
        self.contents = [path.read_bytes() for path in self._files]

    def leave_out_others(self, number: int) -> None:
        """Remove all files but ``number`` without which the sample is still good: the rest is read in less time."""
        for path in sorted((self._folder / "in").rglob("*"), reverse=True):  # images last, which others need
            if path.is_file() and path != self._files[number]:
                content = path.read_bytes()
                path.unlink()
                try:
                    self.read(number)
                    still = self._reader.format in (None, prediction_format(self._path).name)
                except CLOSED_LIST:
                    still = False
                if not still:
                    path.write_bytes(content)

    def read(self, number: int = 0) -> None:
        """Read the sample as it is, or of a reader of single files that of this ``number``."""
        try:
            self._reader.read(self._files[number] if self._reader.alone else self._path, self._folder / "out")
        finally:
            shutil.rmtree(self._folder / "out", ignore_errors=True)

    def read_with(self, number: int, content: bytes) -> Exception | None:
        """Read it with other content of file ``number``; gives the error of the closed list that this ends in.

        All other errors are bugs and raised.
        """
        self._files[number].write_bytes(content)
        try:
            self.read(number)
        except CLOSED_LIST as error:
            return error
        finally:
            self._files[number].write_bytes(self.contents[number])
        return None
