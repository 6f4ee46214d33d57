"""Lightning's trainer: built from settings, suited to the work, and the checkpoint that a training is resumed from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from bpr.models.refiner import PatchRefiner
from bpr.models.weights import METADATA_KEY, CheckpointError, load_segmenter
from bpr.structures import SettingError

MakeTrainer = Callable[..., pl.Trainer]
"""Builds a trainer; its keyword arguments replace those that it would have."""

_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""The others convert what is loaded, and weights, for which batches and losses here are not made."""
_ABSENT = ("No supported gpu backend", "can not run on your system", "But your machine only has")


def build_trainer(make: Callable[..., pl.Trainer], **given: Any) -> pl.Trainer:
    """The trainer that ``make`` builds.

    Args:
        make: `pytorch_lightning.Trainer`, or a function that calls it.
        given: Its keyword arguments.

    Raises:
        SettingError: If Lightning refuses a setting, or the machine lacks the device.
    """
    try:
        trainer = make(**given)
    except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split()).removeprefix("trainer: ")
        if any(sign in problem for sign in _ABSENT):
            problem += "; trainer.accelerator=auto trainer.devices=auto take what torch finds on this machine"
        else:
            problem += (
                "; check trainer.accelerator, trainer.devices, trainer.num_nodes, trainer.strategy, trainer.precision"
            )
        raise SettingError(f"trainer: {problem}") from error
    if trainer.precision not in _PRECISIONS:
        raise SettingError(f"trainer.precision must be one of {', '.join(_PRECISIONS)}, got {trainer.precision}")
    return trainer


def workers_ahead_of(device: torch.device) -> int:
    """How many processes read, place and cut for a device: so many that a GPU need not wait, none for a CPU."""
    return 0 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // max(1, torch.cuda.device_count())))


def capped_trainer(make_trainer: MakeTrainer, images: int) -> pl.Trainer:
    """A trainer on no more devices than there are images, as far as it starts its processes itself."""
    trainer = make_trainer()
    devices = min(max(images, 1), trainer.num_devices)
    if is_spread(trainer) or devices == trainer.num_devices:
        return trainer
    on_cpu = trainer.strategy.root_device.type == "cpu"
    return make_trainer(devices=devices if on_cpu else trainer.device_ids[:devices])


def is_spread(trainer: pl.Trainer) -> bool:
    """Whether torchrun, SLURM or the like, or people on several machines, have started the processes of a trainer."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    outside = environment is not None and not isinstance(environment, LightningEnvironment)
    return trainer.world_size > 1 and (outside or trainer.num_nodes > 1)


def check_resumable(path: Path, refiner: PatchRefiner, max_steps: int) -> None:
    """Refuse a file from which this training cannot be resumed.

    Args:
        path: Should be a checkpoint that a training of the same network wrote.
        refiner: What is to be trained.
        max_steps: Optimizer steps after which the training ends; -1: never.

    Raises:
        CheckpointError: If the file is missing, no checkpoint of a training, or one of another network.
        SettingError: If it has all the steps already, or another optimizer.
    """
    load_segmenter(path)  # says what is wrong with a file that is not ours
    contents = {} if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    if not {"loops", "optimizer_states", "global_step"} <= contents.keys():
        raise CheckpointError(
            f"{path}: has weights, but no training to resume; to start one from them: model=checkpoint "
            f"model.net.path={path}"
        )
    configs = refiner.segmenter.config, contents["hyper_parameters"][METADATA_KEY]
    ours, theirs = map(_architecture, configs)
    if ours != theirs:
        raise CheckpointError(f"{path}: is of the network {theirs}, but `model` is {ours}: choose the same")
    optimizer = refiner.new_optimizer()
    try:
        optimizer.load_state_dict(contents["optimizer_states"][0])
        optimizer.step()  # of no gradients, which changes nothing
    except TypeError:
        pass  # one that needs a closure
    except (LookupError, ValueError) as error:
        raise SettingError(
            f"{path}: was trained by another optimizer than that of `optim` ({type(error).__name__}: {error}); choose "
            f"the same, or start anew from its weights: model=checkpoint model.net.path={path}"
        ) from error
    if 0 <= max_steps <= contents["global_step"]:
        raise SettingError(
            f"{path} has {contents['global_step']} steps already: set trainer.max_steps above that to prolong it "
            f"(now {max_steps})"
        )


def _architecture(config: dict[str, Any]) -> dict[str, Any]:
    """What of a network's config determines its weights."""
    return {name: value for name, value in config.items() if name not in ("input_size", "pretrained")}
