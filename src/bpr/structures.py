"""Value types that the whole package speaks in; each checks itself when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
"""(h, w) bool."""
Image: TypeAlias = NDArray[np.uint8]
"""(h, w, 3) uint8, RGB."""
Boxes: TypeAlias = NDArray[np.int64]
"""(n, 4) int64, ``x1, y1, x2, y2``, half-open, image px."""
Probabilities: TypeAlias = NDArray[np.float32]
"""(n, s, s) float32 in [0, 1], probability of foreground; or (n, 2, s, s) with the logit of trust in the coarse mask
after it, see `bpr.patches.trust`."""
Window: TypeAlias = tuple[int, int, int, int]
"""``x1, y1, x2, y2`` of one part of an image, half-open, image px."""
Size: TypeAlias = tuple[int, int]
"""Height and width, px."""


class Rle(TypedDict):
    """Compressed COCO run-length encoding of one mask: ``size`` is ``[h, w]``, ``counts`` is ASCII."""

    size: list[int]
    counts: str


class SettingError(ValueError):
    """A setting that is out of its range; the message names it as configurations do."""


def check_numbers(values: Mapping[str, object], whole: bool = False) -> None:
    """`SettingError` if a setting, by its name, is neither a number, or ``whole`` number, nor None."""
    for name, value in values.items():
        if value is not None and (isinstance(value, str) or not hasattr(value, "__index__" if whole else "__float__")):
            raise SettingError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")


def check_flags(values: Mapping[str, object]) -> None:
    """`SettingError` if a setting, by its name, is neither True nor False; the text ``"false"`` would count as True."""
    for name, value in values.items():
        if not isinstance(value, int | np.bool_) or value not in (True, False):
            raise SettingError(f"{name} must be True or False, got {value!r}")


PAPERS_NMS_IOU: Final = 0.25
"""At refinement, the paper drops a patch whose IoU with a kept one exceeds this."""


_SETTINGS: Final = {"Placement": "patch.placement", "Round": "rounds", "CoarseOrigin": "data.coarse"}
"""What people call a `Choice`, where that is not the name of the class."""


class Choice(StrEnum):
    """Names to choose from; `SettingError` for any other."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        name = _SETTINGS.get(cls.__name__, cls.__name__.lower())
        raise SettingError(f"{name} must be one of {', '.join(cls)}, got {value!r}")


class Placement(Choice):
    """How the centres of patches are chosen among the boundary pixels; see `bpr.patches.placement`.

    ``nms``: greedy non-maximum suppression, as in the paper; ``contour``: evenly along the boundary; ``cover``: as
    few patches as cover the whole boundary, chosen greedily.
    """

    nms = "nms"
    contour = "contour"
    cover = "cover"


_SPACING: Final = 40
_TAPER: Final = 0.25
_OWN: Final = {
    "nms_iou": Placement.nms,
    "compat_2021": Placement.nms,
    "spacing": Placement.contour,
    "margin": Placement.cover,
}
"""Settings that only one placement has."""
_WHOLE: Final = ("size", "spacing", "margin")
_REAL: Final = ("nms_iou", "taper")
_FLAGS: Final = ("image_border", "compat_2021")


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """How boundary patches are placed (paper, section 3.2).

    Attributes:
        size: Side of a patch, image px; even.
        nms_iou: For ``nms``: a box is dropped when its IoU with a kept box is above this. In (0, 1]; 1 keeps all. None:
            0.25, as in the paper.
        placement: How their centres are chosen. None: ``nms`` where ``nms_iou`` or ``compat_2021`` is given, else
            ``cover``.
        spacing: For ``contour``: px along the boundary from one centre to the next, at most. None: 40.
        margin: For ``cover``: px of a patch at each side within which it does not count as covering; less than half
            of ``size``. None: a sixteenth of it.
        taper: Share of a patch's side, in [0, 0.5], over which its weight in the mean of overlapping patches grows from
            next to nothing at an edge, where the network sees only one side of things, to 1. 0: all pixels count the
            same, as in the paper. None: 0 with ``nms``, else 0.25.
        image_border: Also place patches where a mask is cut off by the border of the image. Nothing can be
            gained there, so the default is not to.
        compat_2021: Place the boxes exactly as the 2021 code did: patches along the image border, boxes that
            never reach the last row and column, nothing for images with a side of ``size`` px or less.
    """

    size: int = 64
    nms_iou: float | None = None
    placement: Placement | None = None
    spacing: int | None = None
    margin: int | None = None
    taper: float | None = None
    image_border: bool = False
    compat_2021: bool = False

    def __post_init__(self) -> None:
        if self.size is None:
            raise SettingError("patch.size must be a whole number, got None")
        check_numbers({f"patch.{name}": getattr(self, name) for name in _WHOLE}, whole=True)
        check_numbers({f"patch.{name}": getattr(self, name) for name in _REAL})
        check_flags({f"patch.{name}": getattr(self, name) for name in _FLAGS})
        self._choose_placement()
        half = self.size // 2
        for fits, problem in (
            (self.size >= 2 and self.size % 2 == 0, f"size must be an even number of pixels >= 2, got {self.size}"),
            (
                self.nms_iou is None or 0 < self.nms_iou <= 1,
                f"nms_iou must be in (0, 1] (1 turns NMS off), got {self.nms_iou}",
            ),
            (self.spacing is None or self.spacing >= 1, f"spacing must be at least 1 px, got {self.spacing}"),
            (
                self.margin is None or 0 <= self.margin < half,
                f"margin must be in [0, {half}) px, half of patch.size, got {self.margin}",
            ),
            (self.taper is None or 0 <= self.taper <= 0.5, f"taper must be in [0, 0.5], got {self.taper}"),
        ):
            if not fits:
                raise SettingError(f"patch.{problem}")

    def _choose_placement(self) -> None:
        by_nms = self.nms_iou is not None or self.compat_2021
        chosen = Placement(self.placement or (Placement.nms if by_nms else Placement.cover))  # its name will do
        object.__setattr__(self, "placement", chosen)
        for name, placement in _OWN.items():
            given = getattr(self, name)
            if given is not None and given is not False and chosen is not placement:
                raise SettingError(f"patch.{name} goes with patch.placement={placement}, got {chosen}")
        if chosen is Placement.nms and self.nms_iou is None:
            object.__setattr__(self, "nms_iou", PAPERS_NMS_IOU)
        if chosen is Placement.contour and self.spacing is None:
            object.__setattr__(self, "spacing", _SPACING)

    @property
    def resolved_taper(self) -> float:
        """`taper`, or what it stands for where it is None."""
        if self.taper is not None:
            return self.taper
        return 0 if self.placement is Placement.nms else _TAPER


class Round(Choice):
    """One pass of the network over the boundaries of all masks; the next starts from the masks that it made.

    ``boundary``: patches of ``PatchSpec.size`` px, as in the paper; ``object``: the side of an instance's patches is
    the geometric mean of the sides of its box, so that they show more of a large object. Where that is no larger than
    ``PatchSpec.size``, its boundary has been seen as closely as ``boundary`` would show it, which then passes it by.
    So does a second ``boundary`` those masks that the first has hardly changed (an IoU above 0.95).
    """

    boundary = "boundary"
    object = "object"


PAPERS_ROUNDS: Final = (Round.boundary,)
ROUNDS_WITH_TRUST: Final = (Round.object, Round.boundary, Round.boundary)
"""Those in which weights with a trust output refine best."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One predicted mask.

    Attributes:
        rle: The mask, as large as its image.
        category: Category id, as in the file.
        score: Confidence of the segmenter.
        position: Index of the entry in the file it came from (0-based), so that results keep its order.
    """

    rle: Rle
    category: int
    score: float
    position: int


@dataclass(frozen=True, slots=True)
class TrueInstance:
    """One annotated object.

    Attributes:
        rle: The mask, as large as its image.
        category: Category id, as in the file.
        crowd: Whether it is a region of many objects, which is never matched.
        area: px^2, as annotated (COCO: of the polygons); None: its number of mask pixels.
    """

    rle: Rle
    category: int
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True, slots=True)
class ClassCoverage:
    """Which classes were checked in an image that is not exhaustively annotated (LVIS, Gupta et al., CVPR 2019).

    Attributes:
        negative: Classes known to be absent. Of the others, only those with an object in the image were checked.
        not_exhaustive: Classes of which some objects are not annotated: a prediction without one may be right.
    """

    negative: frozenset[int]
    not_exhaustive: frozenset[int]


class Backend(Choice):
    """How a network is run.

    ``eager``: torch as it is; ``compile``: `torch.compile`; ``openvino``: converted, on a CPU, needs the extra
    ``openvino``; ``openvino_bf16``: in bfloat16, on a processor that has it; ``openvino_int8``: quantised, which
    changes a few pixels, needs the extra ``openvino-int8``.
    """

    eager = "eager"
    compile = "compile"
    openvino = "openvino"
    openvino_bf16 = "openvino_bf16"
    openvino_int8 = "openvino_int8"


class ExifUse(StrEnum):
    """What to do with the EXIF orientation of images.

    ``apply`` it, as OpenCV, Ultralytics and Detectron2 do; ``ignore`` it, as pycocotools' and torchvision's readers
    do; ``auto``: apply it wherever the turned image has the size of the masks, else take the image as it is stored.
    Pillow always applies that of TIFFs.
    """

    auto = "auto"
    apply = "apply"
    ignore = "ignore"


class OnError(StrEnum):
    """What ``refine.py`` does where an entry or image is bad: ``stop``, or ``keep`` its masks as they came."""

    stop = "stop"
    keep = "keep"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image and what was predicted in it; the pixels stay on disk.

    Attributes:
        image_id: Id in the annotation and result files.
        path: Where the image is; where only masks are compared, its name as annotated.
        size: (h, w) of the masks, px; the decoded image must have it too.
        instances: Predicted masks, in the order of the file; may be empty.
        truths: Annotated objects, empty where there is no ground truth.
        exif: What to do with its EXIF orientation.
        coverage: Which classes were checked; None where all objects are annotated.
    """

    image_id: int | str
    path: Path
    size: Size
    instances: tuple[Prediction, ...] = ()
    truths: tuple[TrueInstance, ...] = ()
    exif: ExifUse = ExifUse.auto
    coverage: ClassCoverage | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"image {self.image_id}: size must be positive, got {self.size}")
        for rle in [what.rle for what in self.instances] + [what.rle for what in self.truths]:
            if tuple(rle["size"]) != self.size:
                image = f"image {self.image_id} ({self.path.name})"
                raise ValueError(f"{image} is {self.size} (h, w), but a mask of it is {tuple(rle['size'])}")
