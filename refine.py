"""Refine the masks of any instance segmenter: ``python refine.py images=DIR predictions=FILE``.

All settings are in ``conf/refine.yaml``. Without arguments, the embedded demo is refined.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
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
    from bpr.refine.report import report_path, write_report

    OmegaConf.resolve(cfg)
    try:
        if cfg.report:
            report_path(Path(cfg.output))  # known to be usable before the work begins
        choose_input(cfg)
        finished = refine(cfg)
        if finished is not None:
            if cfg.contact_sheet:
                print_contact_sheet(finished)
            scores = print_scores(finished, cfg.dilation_ratio)
            if cfg.report:
                print(f"report: {write_report(finished, scores, OmegaConf.to_yaml(cfg))}")
    except (FormatError, CheckpointError) as error:
        sys.exit(f"error: {error}")


def choose_input(cfg: DictConfig) -> None:
    """Fill in the embedded demo where no input is given."""
    from bpr.data.demo import make_demo
    from bpr.formats.errors import FormatError

    if cfg.images is None and cfg.predictions is None:
        demo = make_demo(Path(cfg.paths.cache) / "demo")
        cfg.images, cfg.predictions, cfg.annotations = (
            str(p) for p in (demo.images, demo.predictions, demo.annotations)
        )
        cfg.contact_sheet = cfg.contact_sheet is not False
    elif cfg.images is None or cfg.predictions is None:
        raise FormatError(Path(cfg.images or cfg.predictions), None, "give both, images=DIR and predictions=FILE")


def refine(cfg: DictConfig) -> FinishedRun | None:
    """Predict the images that are left and merge; None in all processes but the one that wrote the results."""
    import torch

    from bpr.data.datamodule import RefinementDataModule
    from bpr.data.records import refinement_records
    from bpr.evaluation.inputs import Results
    from bpr.formats.coco import read_annotations, read_results
    from bpr.models.checkpoint import load_refiner
    from bpr.models.weights import resolve_checkpoint
    from bpr.refine.run import FinishedRun, RefinementRun, format_summary
    from bpr.refine.writer import RefinementWriter
    from bpr.structures import PatchSpec

    start = time.perf_counter()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    spec, output, predictions = PatchSpec(**cfg.patch), Path(cfg.output), Path(cfg.predictions)
    checkpoint = resolve_checkpoint(cfg.ckpt)
    refiner = load_refiner(checkpoint, cfg.input_size, cfg.patches_per_forward)
    annotations = read_annotations(cfg.annotations) if cfg.annotations else None
    entries = read_results(predictions)
    records = refinement_records(Path(cfg.images), predictions, entries, annotations)
    settings = {"patch": dict(cfg.patch), "input_size": cfg.input_size, "threshold": cfg.threshold}
    run = RefinementRun(output, [predictions, checkpoint], settings, cfg.overwrite)
    left = run.remaining(records)
    if left:
        trainer = build_trainer(cfg, RefinementWriter(run.folder, run.digest, cfg.threshold), len(left))
        datamodule = RefinementDataModule(left, spec, cfg.images_per_batch, cfg.num_workers)
        trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return None
    merged, summary = run.finish(entries, len(records))
    elapsed = time.perf_counter() - start
    print(format_summary(summary, elapsed))
    print(f"refined masks: {output}")
    coarse, refined = Results(predictions, entries), Results(output, merged)
    return FinishedRun(records, coarse, refined, annotations, summary, elapsed)


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
