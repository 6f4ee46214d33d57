"""Refine the masks of any instance segmenter: ``python refine.py images=DIR predictions=FILE``.

All settings are in ``conf/refine.yaml``. Without arguments, the embedded demo is refined.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bpr.config import register_schemas

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer

    from bpr.evaluation.report import Evaluation
    from bpr.refine.run import FinishedRun

register_schemas()


@hydra.main(version_base="1.3", config_path="conf", config_name="refine")
def main(cfg: DictConfig) -> None:
    """Refine, merge, and print what happened; bad input ends in one line that says what to do."""
    from bpr.formats.errors import FormatError
    from bpr.models.weights import CheckpointError
    from bpr.refine.report import write_report

    try:
        check_settings(cfg)
        choose_input(cfg)
        OmegaConf.resolve(cfg)
        finished = refine(cfg)
        if finished is not None:
            if cfg.contact_sheet:
                print_contact_sheet(finished)
            scores = print_scores(finished, cfg.dilation_ratio)
            if cfg.report:
                print(f"report: {write_report(finished, scores, OmegaConf.to_yaml(cfg))}")
    except (FormatError, CheckpointError, SettingError, ModuleNotFoundError, OSError) as error:
        sys.exit(f"error: {error}")


class SettingError(ValueError):
    """A setting that is out of its range."""


def check_settings(cfg: DictConfig) -> None:
    """Refuse what cannot work, before any work is done."""
    from bpr.structures import PatchSpec

    if not 0 <= cfg.threshold < 1:
        raise SettingError(f"threshold must be in [0, 1), got {cfg.threshold}")
    for name, lowest in (("patches_per_forward", 1), ("images_per_batch", 1), ("num_workers", 0), ("threads", 1)):
        if cfg[name] is not None and cfg[name] < lowest:
            raise SettingError(f"{name} must be at least {lowest}, got {cfg[name]}")
    try:
        PatchSpec(**cfg.patch)
    except ValueError as error:
        raise SettingError(str(error)) from error


def choose_input(cfg: DictConfig) -> None:
    """Fill in what is not given from the data set that ``data=NAME`` names, or else from the embedded demo."""
    from bpr.data.demo import make_demo
    from bpr.formats.errors import FormatError

    source = None if cfg.data is None else cfg.data.val[0]
    cfg.data = None  # the rest of it is for training
    nothing_given = cfg.images is None and cfg.predictions is None
    if nothing_given and (source is None or "split" in source):
        demo = make_demo(Path(cfg.paths.cache) / "demo")
        cfg.images, cfg.predictions, cfg.annotations = (
            str(p) for p in (demo.images, demo.predictions, demo.annotations)
        )
        cfg.contact_sheet = cfg.contact_sheet is not False
    elif source is not None and "split" not in source:
        cfg.images = cfg.images or source.images
        cfg.predictions = cfg.predictions or source.predictions[0]
        cfg.annotations = cfg.annotations or (source.annotations if nothing_given else None)
    if cfg.images is None or cfg.predictions is None:
        raise FormatError(Path(cfg.images or cfg.predictions), None, "give both, images=DIR and predictions=FILE")


def refine(cfg: DictConfig) -> FinishedRun | None:
    """Predict the images that are left and merge; None in all processes but the one that wrote the results."""
    import torch

    from bpr.data.datamodule import RefinementDataModule
    from bpr.evaluation.inputs import Results
    from bpr.models.checkpoint import load_refiner
    from bpr.models.weights import resolve_checkpoint
    from bpr.refine.inputs import choose_output, read_input
    from bpr.refine.report import report_path
    from bpr.refine.run import FinishedRun, RefinementRun, format_summary
    from bpr.refine.writer import RefinementWriter
    from bpr.structures import PatchSpec

    start = time.perf_counter()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    spec, checkpoint = PatchSpec(**cfg.patch), resolve_checkpoint(cfg.ckpt)
    given = read_input(cfg.images, cfg.predictions, cfg.annotations, cfg.format, cfg.exif)
    output = choose_output(cfg.output, given, HydraConfig.get().runtime.output_dir, cfg.overwrite)
    if cfg.report:
        report_path(output)  # known to be usable before the work begins
    if cfg.dilation_ratio is None:
        cfg.dilation_ratio = given.form.dilation_ratio
    cache = Path(cfg.paths.cache) / "onnx"
    refiner = load_refiner(checkpoint, cfg.input_size, cfg.patches_per_forward, cfg.backend, cache)
    settings = settings_of(cfg) | {"images": [str(record.path.resolve()) for record in given.records]}
    run = RefinementRun(output, [given.predictions, checkpoint], settings, cfg.overwrite)
    left = run.remaining(given.records)
    if left:
        writer = RefinementWriter(run.folder, run.digest, cfg.threshold, keep_emptied=not spec.compat_2021)
        trainer = build_trainer(cfg, writer, len(left))
        datamodule = RefinementDataModule(left, spec, cfg.images_per_batch, cfg.num_workers)
        trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return None
    merged, summary = run.finish(given.entries, len(given.records), given.write)
    elapsed = time.perf_counter() - start
    print(format_summary(summary, elapsed))
    print(f"network: {checkpoint.stem}, backend {cfg.backend.value}")
    print(f"refined masks: {output}")
    coarse, refined = Results(given.predictions, given.entries), Results(output, merged)
    return FinishedRun(given.records, coarse, refined, given.annotations, summary, elapsed)


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What determines the masks beside files: an interrupted run goes on with the same only."""
    names = ("exif", "input_size", "threshold")
    return {"patch": dict(cfg.patch)} | {name: cfg[name] for name in names}


def print_contact_sheet(finished: FinishedRun) -> None:
    """Write before and after as a picture beside the results, and print where."""
    from bpr.refine.contact_sheet import write_contact_sheet

    output = finished.refined.path
    sheet = output.with_name(f"{output.stem}_contact_sheet.png")
    refined = output, finished.refined.entries
    shown = write_contact_sheet(sheet, finished.records, refined, finished.annotations)
    print(f"before and after: {sheet}" if shown else "no mask changed: no contact sheet")


def build_trainer(cfg: DictConfig, writer: Callback, images: int) -> Trainer:
    """The configured trainer, on no more devices than there are images (a process without one would crash)."""
    trainer: Trainer = instantiate(cfg.trainer, callbacks=[writer])
    if trainer.world_size <= images:
        return trainer
    devices = min(images, trainer.num_devices)
    capped = devices if trainer.accelerator.name() == "cpu" else trainer.device_ids[:devices]
    capped_trainer: Trainer = instantiate(cfg.trainer, callbacks=[writer], devices=capped, num_nodes=1)
    return capped_trainer


def print_scores(finished: FinishedRun, dilation_ratio: float) -> Evaluation | None:
    """Print the table of scores before and after, and return them, where the annotation file has objects."""
    from bpr.evaluation.report import evaluate_results
    from bpr.evaluation.table import format_table

    if finished.annotations is None or not finished.annotations.has_truths:
        return None
    scores = evaluate_results(finished.refined, finished.annotations, finished.coarse, dilation_ratio)
    print(format_table(scores))
    return scores


if __name__ == "__main__":
    main()
