"""What ``refine.py`` is asked to do: checked before any work, with the input that is meant."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bpr.formats.errors import FormatError
from bpr.models.segmenter import check_input_size
from bpr.patches.presets import Preset
from bpr.structures import Backend, ExifUse, OnError, PatchSpec, Round, SettingError
from bpr.synthetic.example import make_tour

_LOWEST: Final = {
    "polygon_tolerance": 0,
    "min_score": 0,
    "patches_per_forward": 1,
    "images_per_batch": 1,
    "num_workers": 0,
    "threads": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineSettings:
    """The settings of one refinement; ``conf/refine.yaml`` explains them and has the defaults.

    Attributes:
        folder: Of the run; the output goes there by default.
        cache: For what backends keep.
        patch: As the preset has it, where it is not given.
        notes: What of the settings has no effect, for people, a line each.
    """

    images: Path | None
    predictions: Path
    annotations: Path | None
    output: Path | None
    folder: Path
    cache: Path
    format: str | None
    ignore_label: int | None
    polygon_tolerance: float
    crowds: bool
    exif: ExifUse
    on_error: OnError
    min_score: float
    ckpt: str
    input_size: int | None
    preset: Preset
    rounds: tuple[Round, ...] | None
    flip: bool
    trust: bool
    threshold: float
    patch: PatchSpec
    patches_per_forward: int | None
    backend: Backend | None
    images_per_batch: int
    num_workers: int | None
    threads: int | None
    dilation_ratio: float | None
    overwrite: bool
    report: bool
    report_min_score: float
    contact_sheet: bool
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", self.preset.patches(self.patch))
        self._check_ranges()
        try:
            if self.input_size is not None:
                check_input_size(self.input_size)
        except ValueError as error:
            raise SettingError(str(error)) from error

    def _check_ranges(self) -> None:
        if not 0 <= self.threshold < 1:
            raise SettingError(f"threshold must be in [0, 1), got {self.threshold}")
        if not 0 <= self.report_min_score <= 1:
            raise SettingError(f"report_min_score must be in [0, 1], got {self.report_min_score}")
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < math.inf:
                raise SettingError(f"{name} must be at least {lowest}, got {value}")
        if self.rounds is not None and not self.rounds:
            raise SettingError("rounds must name at least one, such as rounds=[boundary]")
        if self.dilation_ratio is not None and not 0 < self.dilation_ratio < 1:
            problem = "dilation_ratio must be in (0, 1), a part of the image's diagonal"
            raise SettingError(f"{problem}, got {self.dilation_ratio}")

    @classmethod
    def from_config(cls, values: Mapping[str, Any], folder: str | Path) -> Self:
        """The settings of a composed configuration, from `bpr.config.schemas.refine_values`, of a run in ``folder``.

        What is not given of images, predictions and annotations comes from the data set that ``data=NAME`` names, or
        else from the embedded example and demo (`make_tour`), which are made unless they are there.

        Raises:
            SettingError: If a value is out of its range.
            FormatError: If images are given without predictions.
        """
        given = dict(values)
        source, cache = given.pop("data"), Path(given.pop("paths")["cache"])
        paths = {name: given.pop(name) for name in ("images", "predictions", "annotations")}
        output, sheet = given.pop("output"), given.pop("contact_sheet")
        for name, path in {**paths, "output": output, "ckpt": given["ckpt"]}.items():
            if path == "":
                raise SettingError(f"{name} is empty; give a path, or leave it out")
        nothing_given = paths["images"] is None and paths["predictions"] is None
        if nothing_given and source is None:
            tour = make_tour(cache / "demo")
            paths = {"images": tour.images, "predictions": tour.predictions, "annotations": tour.annotations}
            sheet = sheet is not False
        elif source is not None:
            paths["images"] = paths["images"] or source.images
            paths["predictions"] = paths["predictions"] or next(iter(source.predictions), None)
            paths["annotations"] = paths["annotations"] or (source.annotations if nothing_given else None)
        if paths["predictions"] is None:
            raise FormatError(Path(paths["images"]), None, "give both, images=DIR and predictions=FILE")
        return cls(
            images=None if paths["images"] is None else Path(paths["images"]),
            predictions=Path(paths["predictions"]),
            annotations=None if paths["annotations"] is None else Path(paths["annotations"]),
            output=None if output is None else _named(Path(output)),
            folder=Path(folder),
            cache=cache,
            contact_sheet=bool(sheet),
            **{
                **given,
                "patch": PatchSpec(**given["patch"]),
                "rounds": None if given["rounds"] is None else tuple(given["rounds"]),
            },
        )


def _named(path: Path) -> Path:
    """The path, such that files beside it can be named after it: of ``.`` and ``..``, the whole path."""
    named = path.resolve() if path.name in ("", "..") else path
    if not named.name:
        raise SettingError(f"output={path} has no name; give a file or a folder in it")
    return named
