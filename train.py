"""Train a patch segmenter: ``python train.py experiment=hrnet18s_128``; see ``conf/train.yaml``."""

import sys

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from bpr.config import register_schemas

register_schemas()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train; return ``val/boundary_f`` for sweeps. Bad input ends in one line that says what to do."""
    from bpr.formats.errors import FormatError
    from bpr.models.weights import CheckpointError
    from bpr.structures import SettingError

    try:
        return train(cfg)
    except (FormatError, CheckpointError, SettingError) as error:
        sys.exit(f"error: {error}")


def train(cfg: DictConfig) -> float | None:
    """Build everything from the configuration and fit; return ``val/boundary_f``, if there was a validation."""
    import pytorch_lightning as pl
    import torch

    from bpr.models.refiner import PatchRefiner
    from bpr.structures import PatchSpec

    OmegaConf.resolve(cfg)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    pl.seed_everything(cfg.seed, workers=True)
    spec = PatchSpec(**cfg.patch)
    datamodule = instantiate(cfg.data, spec=spec, augmentation=instantiate(cfg.augment), _convert_="object")
    refiner = PatchRefiner(
        instantiate(cfg.model.net), instantiate(cfg.optim.optimizer), instantiate(cfg.optim.scheduler)
    )
    trainer = instantiate(
        cfg.trainer,
        callbacks=list(instantiate(cfg.callbacks).values()),
        logger=instantiate(cfg.logger),
        _convert_="object",
    )
    trainer.fit(refiner, datamodule=datamodule, ckpt_path=cfg.ckpt, weights_only=True)
    boundary_f = trainer.callback_metrics.get("val/boundary_f")
    return None if boundary_f is None else float(boundary_f)


if __name__ == "__main__":
    main()
