"""What ``refine.py`` is asked to do: settings checked before any work, and the input that is meant."""

from pathlib import Path

from omegaconf import DictConfig

from bpr.config import build
from bpr.data.settings import Source
from bpr.formats.errors import FormatError
from bpr.models.segmenter import check_input_size
from bpr.structures import PatchSpec, SettingError
from bpr.synthetic.demo import make_demo


def check_settings(cfg: DictConfig) -> None:
    """Refuse what cannot work, before any work is done."""
    if not 0 <= cfg.threshold < 1:
        raise SettingError(f"threshold must be in [0, 1), got {cfg.threshold}")
    for name, lowest in (("patches_per_forward", 1), ("images_per_batch", 1), ("num_workers", 0), ("threads", 1)):
        if cfg[name] is not None and cfg[name] < lowest:
            raise SettingError(f"{name} must be at least {lowest}, got {cfg[name]}")
    if cfg.dilation_ratio is not None and not 0 < cfg.dilation_ratio < 1:
        raise SettingError(
            f"dilation_ratio must be in (0, 1), a part of the image's diagonal, got {cfg.dilation_ratio}"
        )
    try:
        if cfg.input_size is not None:
            check_input_size(cfg.input_size)
    except ValueError as error:
        raise SettingError(str(error)) from error
    PatchSpec(**cfg.patch)


def choose_input(cfg: DictConfig) -> None:
    """Fill in what is not given from the data set that ``data=NAME`` names, or else from the embedded demo."""
    source = None if cfg.data is None else Source.of(build(cfg.data.val[0]))
    cfg.data = None  # the rest of it is for training
    nothing_given = cfg.images is None and cfg.predictions is None
    if nothing_given and source is None:
        demo = make_demo(Path(cfg.paths.cache) / "demo")
        cfg.images, cfg.predictions, cfg.annotations = (
            str(p) for p in (demo.images, demo.predictions, demo.annotations)
        )
        cfg.contact_sheet = cfg.contact_sheet is not False
    elif source is not None:
        cfg.images = cfg.images or str(source.images)
        cfg.predictions = cfg.predictions or str(source.predictions[0])
        cfg.annotations = cfg.annotations or (str(source.annotations) if nothing_given else None)
    if cfg.images is None or cfg.predictions is None:
        raise FormatError(Path(cfg.images or cfg.predictions), None, "give both, images=DIR and predictions=FILE")
