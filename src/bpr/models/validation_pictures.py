"""What a training looks like: the same validation patches at every validation, and its curves at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytorch_lightning as pl
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from bpr.data.batches import PatchBatch, collate_training
from bpr.drawing import COLOURS, outline, write_png
from bpr.models.callbacks import is_partial_check
from bpr.models.curves import is_free, plot_curves
from bpr.models.refiner import PatchRefiner
from bpr.patches.windows import mask_iou
from bpr.structures import Image, Mask

SIDE: Final = 128
"""Of a drawn patch, px."""
BAR: Final = 18
"""Height of the names above the patches, px."""

_GAP, _COLUMNS = 4, 2
_INK, _WHITE = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class ShownPatch:
    """One patch: image (s, s, 3), and its coarse, refined and true mask (s, s)."""

    image: Image
    coarse: Mask
    refined: Mask
    truth: Mask


class ValidationPictures(pl.Callback):
    """Shows the same patches at every validation, and plots the curves of the training at its end.

    The patches are spread evenly over the validation set of the first process, and depend on its length alone, so that
    a resumed training shows the same ones. They are kept as they pass; after the last batch the network sees them
    once more, with the weights of the validation (the moving average, where there is one).

    ``WandbLogger`` gets them as images, ``val/patches``; beside the ``metrics.csv`` of ``CSVLogger``,
    ``pictures/step000123.png`` and ``curves.png`` are written (the curves need matplotlib, the extra ``plots``). A
    check of all batches before the first step counts as validation at that step, one of a part of them does not.
    A file of that name that is not ours is left alone.

    Args:
        count: Patches to show; fewer are shown where there are fewer.

    Raises:
        ValueError: If ``count`` is not positive.
    """

    def __init__(self, count: int = 16) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}; ~callbacks.pictures shows none")
        self._count = count
        self._kept: list[PatchBatch] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what an interrupted validation left."""
        self._kept = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: PatchBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what is to be shown of this batch; after the last one, show it.

        Not after the epoch, when a moving average has handed the weights back.
        """
        if not trainer.is_global_zero or is_partial_check(trainer) or not trainer.loggers:
            return
        assert isinstance(pl_module, PatchRefiner)
        batches = int(trainer.num_val_batches[0])
        if rows := chosen_rows(self._count, batches, batch_idx, len(batch.images)):
            self._kept.append(PatchBatch(batch.images[rows], batch.coarse[rows], batch.truth[rows]))
        if batch_idx + 1 == batches and self._kept:
            kept, self._kept = collate_training(self._kept), []
            with trainer.precision_plugin.forward_context():
                refined = pl_module.segmenter.foreground_probability(kept.images, kept.coarse) > 0.5
            images = kept.images.permute(0, 2, 3, 1).cpu().numpy()
            masks = (m.cpu().numpy() for m in (kept.coarse, refined, kept.truth))
            _show(trainer, [ShownPatch(*patch) for patch in zip(images, *masks, strict=True)])

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plot the curves, in one process, and say where they are."""
        for logger in trainer.loggers:
            if trainer.is_global_zero and isinstance(logger, CSVLogger):
                logger.save()
                plot_curves(Path(logger.log_dir))


def chosen_rows(count: int, batches: int, batch: int, length: int) -> list[int]:
    """Which patches of a batch are shown: those at the middles of ``count`` equal parts of the validation set.

    Args:
        count: Patches to show in all.
        batches: In the validation set.
        batch: Number of this one, from 0.
        length: Patches in it.

    Returns:
        Ascending, each once.
    """
    places = [(2 * part + 1) * batches for part in range(count)]  # in units of 1 / (2 * count) of a batch
    return sorted({place % (2 * count) * length // (2 * count) for place in places if place // (2 * count) == batch})


def draw_strip(patch: ShownPatch) -> PillowImage.Image:
    """Image, coarse, refined and true mask of a patch side by side, RGB; IoU with the truth beside the names."""
    view = PillowImage.fromarray(patch.image).resize((SIDE, SIDE), PillowImage.Resampling.BICUBIC)
    masks = {"coarse": patch.coarse, "refined": patch.refined, "ground truth": patch.truth}
    strip = PillowImage.new("RGB", (4 * (SIDE + _GAP) - _GAP, BAR + SIDE), _INK)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(12)
    draw.text((3, 2), "image", fill=_WHITE, font=font)
    strip.paste(view, (0, BAR))
    for position, (name, mask) in enumerate(masks.items(), 1):
        x = position * (SIDE + _GAP)
        title = name if mask is patch.truth else f"{name}, IoU {mask_iou(mask, patch.truth):.3f}"
        draw.text((x + 3, 2), title, fill=COLOURS[name], font=font)
        strip.paste(outline(view, mask, COLOURS[name]), (x, BAR))
    return strip


def draw_sheet(strips: Sequence[PillowImage.Image]) -> PillowImage.Image:
    """Strips of one size, at least one, in two columns, row by row."""
    width, height = strips[0].size
    columns, rows = min(_COLUMNS, len(strips)), -(-len(strips) // _COLUMNS)
    gap = 2 * _GAP
    sheet = PillowImage.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), _WHITE)
    for number, strip in enumerate(strips):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(strip, (column * (width + gap), row * (height + gap)))
    return sheet


def _show(trainer: pl.Trainer, patches: Sequence[ShownPatch]) -> None:
    strips = [draw_strip(patch) for patch in patches]
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image("val/patches", strips, step=trainer.global_step)
        elif isinstance(logger, CSVLogger):
            path = Path(logger.log_dir, "pictures", f"step{trainer.global_step:06}.png")
            if is_free(path):
                write_png(draw_sheet(strips), path)
