"""Refine the masks of any instance segmenter: ``python refine.py images=DIR predictions=FILE``.

All settings are in ``conf/refine.yaml``. Without arguments, the embedded demo is refined.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bpr.config import register_schemas

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer

    from bpr.data.stored_records import StoredRecords
    from bpr.refine.inputs import RefinementInput
    from bpr.refine.run import FinishedRun, RefinementRun

register_schemas()


@hydra.main(version_base="1.3", config_path="conf", config_name="refine")
def main(cfg: DictConfig) -> None:
    """Refine, merge, and print what happened; bad input ends in one line that says what to do."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from bpr.formats.errors import FormatError
    from bpr.models.weights import CheckpointError
    from bpr.refine.settings import check_settings, choose_input
    from bpr.report.outcome import show_outcome
    from bpr.structures import SettingError

    try:
        check_settings(cfg)
        choose_input(cfg)
        OmegaConf.resolve(cfg)
        finished = refine(cfg)
        if finished is not None:
            settings = OmegaConf.to_yaml(cfg) if cfg.report else None
            for line in show_outcome(finished, cfg.dilation_ratio, cfg.contact_sheet, settings):
                print(line)
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)
    except (FormatError, CheckpointError, SettingError, ModuleNotFoundError, OSError) as error:
        sys.exit(f"error: {error}")


def refine(cfg: DictConfig) -> FinishedRun | None:
    """Predict the images that are left and merge; None in all processes but the one that wrote the results."""
    from bpr.evaluation.images import Results
    from bpr.models.weights import resolve_checkpoint
    from bpr.refine.run import FinishedRun, format_summary

    start = time.perf_counter()
    checkpoint = resolve_checkpoint(cfg.ckpt)
    given, run = open_run(cfg, checkpoint)
    left = run.remaining(given.records)
    if left and not predict(cfg, checkpoint, run, left, len(given.entries)):
        return None
    merged, summary = run.finish(given.entries, len(given.records), given.write)
    elapsed = time.perf_counter() - start
    print(format_summary(summary, elapsed))
    if left:
        print(f"network: {checkpoint.stem}, backend {cfg.backend.value}")
    print(f"refined masks: {run.output}")
    coarse, refined = Results(given.predictions, given.entries), Results(run.output, merged)
    return FinishedRun(given.records, coarse, refined, given.annotations, summary, elapsed)


def open_run(cfg: DictConfig, checkpoint: Path) -> tuple[RefinementInput, RefinementRun]:
    """Read the input, and begin or go on with the run whose output it is; nothing else may write there then."""
    from lightning_utilities.core.rank_zero import rank_zero_only  # knows the rank before there is a trainer

    from bpr.refine.inputs import choose_output, read_input
    from bpr.refine.run import RefinementRun
    from bpr.report.outcome import report_path

    given = read_input(cfg.images, cfg.predictions, cfg.annotations, cfg.format, cfg.exif)
    output = choose_output(cfg.output, given, HydraConfig.get().runtime.output_dir, cfg.overwrite)
    if cfg.report:
        report_path(output)  # known to be usable before the work begins
    if cfg.dilation_ratio is None:
        cfg.dilation_ratio = given.form.dilation_ratio
    settings = {name: cfg[name] for name in ("exif", "input_size", "threshold")}  # what determines the masks
    settings |= {"patch": dict(cfg.patch), "images": [str(path.resolve()) for path in given.records.paths]}
    run = RefinementRun(output, [given.predictions, checkpoint], settings)
    if getattr(rank_zero_only, "rank", 0) == 0:
        run.claim()
    if cfg.overwrite:
        run.discard()
    return given, run


def predict(cfg: DictConfig, checkpoint: Path, run: RefinementRun, left: StoredRecords, instances: int) -> bool:
    """Refine the images that are left, on all devices; False in all processes but the first."""
    import torch

    from bpr.data.datamodule import RefinementDataModule
    from bpr.models.backends import choose_backend
    from bpr.models.refiner import load_refiner
    from bpr.refine.writer import RefinementWriter
    from bpr.structures import PatchSpec

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    spec, cache = PatchSpec(**cfg.patch), Path(cfg.paths.cache) / "onnx"
    writer = RefinementWriter(run.folder, run.digest, cfg.threshold, keep_emptied=not spec.compat_2021)
    trainer = build_trainer(cfg, writer, len(left))
    if cfg.backend is None:
        cfg.backend = choose_backend(trainer.strategy.root_device, instances)
    refiner = load_refiner(checkpoint, cfg.input_size, cfg.patches_per_forward, cfg.backend, cache)
    datamodule = RefinementDataModule(left, spec, cfg.images_per_batch, cfg.num_workers)
    trainer.predict(refiner, datamodule=datamodule, return_predictions=False)
    trainer.strategy.barrier()
    return trainer.is_global_zero


def build_trainer(cfg: DictConfig, writer: Callback, images: int) -> Trainer:
    """The configured trainer, on no more devices than there are images (a process without one would crash)."""
    trainer: Trainer = instantiate(cfg.trainer, callbacks=[writer])
    if trainer.world_size <= images:
        return trainer
    devices = min(images, trainer.num_devices)
    capped = devices if trainer.accelerator.name() == "cpu" else trainer.device_ids[:devices]
    capped_trainer: Trainer = instantiate(cfg.trainer, callbacks=[writer], devices=capped, num_nodes=1)
    return capped_trainer


if __name__ == "__main__":
    main()
