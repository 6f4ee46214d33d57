"""Train a patch segmenter: ``python train.py experiment=hrnet18s_128``; see ``conf/train.yaml``."""

if __name__ == "__main__":
    from bpr.cli.signals import exit_at_signals

    exit_at_signals()

import sys
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bpr.cli.command import one_line_errors
from bpr.config.overrides import prepared, texts_as_help
from bpr.config.run_folder import check_run_folder
from bpr.config.schemas import TrainConf, build, register_schemas

register_schemas()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train; return ``val/boundary_f`` for sweeps. Bad input ends in one line that says what to do."""
    with one_line_errors():
        return train(cfg)


def train(cfg: DictConfig) -> float | None:
    """Build everything from the configuration and fit; return ``val/boundary_f``, if there was a validation."""
    import pytorch_lightning as pl
    import torch
    from lightning_utilities.core.rank_zero import rank_zero_only

    from bpr.cli.signals import raise_at_signals
    from bpr.data.datamodule import PatchDataModule
    from bpr.models.refiner import PatchRefiner
    from bpr.models.trainer import build_trainer, check_resumable
    from bpr.structures import PatchSpec, SettingError

    raise_at_signals()
    OmegaConf.resolve(cfg)
    for name, lowest in (("seed", 0), ("threads", 1)):
        if cfg[name] is not None and cfg[name] < lowest:
            raise SettingError(f"{name} must be at least {lowest}, got {cfg[name]}")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    hydra_cfg = HydraConfig.get() if HydraConfig.initialized() else None
    chosen, given = ({}, []) if hydra_cfg is None else (hydra_cfg.runtime.choices, hydra_cfg.overrides.task)
    longer = any(one.startswith("trainer.max_steps=") for one in given)
    if chosen.get("experiment") == "demo" and chosen.get("data") != "demo" and not longer:
        length = f"{cfg.trainer.max_steps} steps, accelerator {cfg.trainer.accelerator}"
        rank_zero_only(print)(
            f"note: this is the recipe of the demo ({length}); experiment=hrnet18s_128 is one of the paper's"
        )
    pl.seed_everything(cfg.seed, workers=True)
    datamodule = PatchDataModule(build(cfg.data), PatchSpec(**cfg.patch), build(cfg.augment))
    refiner = PatchRefiner(build(cfg.model.net), build(cfg.optim.optimizer), build(cfg.optim.scheduler))
    callbacks, logger = [*build(cfg.callbacks).values()], build(cfg.logger)
    trainer = build_trainer(partial(build, cfg.trainer), callbacks=callbacks, logger=logger)
    if cfg.ckpt is not None:
        check_resumable(Path(cfg.ckpt), refiner, trainer.max_steps)
    trainer.fit(refiner, datamodule=datamodule, ckpt_path=cfg.ckpt, weights_only=True)
    boundary_f = trainer.callback_metrics.get("val/boundary_f")
    return None if boundary_f is None else float(boundary_f)


if __name__ == "__main__":
    with one_line_errors(), texts_as_help():
        sys.argv[1:] = prepared(sys.argv[1:], TrainConf, Path(__file__).with_name("conf") / "train.yaml")
        check_run_folder(sys.argv[1:], "train")
        main()
