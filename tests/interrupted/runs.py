"""What `points` interrupts: ``refine.py`` and ``train.py`` with networks that take no time, in this process."""

import contextlib
import copy
import functools
import gzip
import importlib.metadata
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from tiny import Shifting, ShiftingRefiner

import bpr.models.trainer
import bpr.refine.run
from bpr.config.schemas import register_schemas

ROOT = Path(__file__).parents[2]
QUIET = ["threads=1", "trainer.accelerator=cpu", "trainer.devices=1"]


def prepare(kind: str, folder: Path, made: Path, *more: str) -> Callable[..., None]:
    """A run that writes all it makes into the folder ``made``; it was done once, so that all modules are imported.

    It takes further settings, ``key=value``.
    """
    register_schemas()
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    run = prepare_training(folder, made, more) if kind == "train" else prepare_refinement(kind, folder, made)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        run()
    return run


def script(name: str):
    return runpy.run_path(str(ROOT / f"{name}.py"))["main"].__wrapped__


def composed(name: str, output: Path, *overrides: object):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        given = [*QUIET, f"hydra.runtime.output_dir={output}", *map(str, overrides)]
        cfg = compose(name, given, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def changed(cfg: DictConfig, changes: Iterable[str]) -> DictConfig:
    again = copy.deepcopy(cfg)
    again.merge_with_dotlist(list(changes))
    return again


def prepare_refinement(kind: str, folder: Path, made: Path) -> Callable[..., None]:
    data, options = folder / "data", []
    if kind == "report":
        options = ["report=true", "contact_sheet=true", f"annotations={data / 'instances.json'}"]
    predictions, output = data / "coarse.json", made / "refined.json"
    if kind == "masks":
        predictions, output = data / "masks", made / "refined"
    if kind == "gzipped":
        predictions, output = data / "coarse.json.gz", made / "refined.json.gz"
        predictions.write_bytes(gzip.compress((data / "coarse.json").read_bytes()))
        (folder / "temporary").mkdir()
        tempfile.tempdir = str(folder / "temporary")
    cfg = composed(
        "refine", made, f"images={data / 'images'}", f"predictions={predictions}", f"output={output}",
        f"ckpt={data / 'stand-in.safetensors'}", "rounds=[boundary]", "backend=eager", "patch.size=32",
        "images_per_batch=1", "trainer.enable_progress_bar=false", f"paths.cache={folder / 'cache'}", *options,
    )  # fmt: skip

    def stand_in(path, input_size, inference, trust, rounds):
        return ShiftingRefiner(Shifting(), inference=inference).eval()

    bpr.refine.run.load_refiner = stand_in
    main = script("refine")
    return lambda *changes: main(changed(cfg, changes))


def prepare_training(folder: Path, made: Path, more: tuple[str, ...]) -> Callable[..., None]:
    data = folder / "data"
    sets = f"[{{images: '{data / 'images'}', annotations: '{data / 'instances.json'}', "
    sets += f"predictions: ['{data / 'coarse.json'}']}}]"
    small = ["patch.size=32", "data.patches_per_image=2", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    small += ["callbacks.checkpoint.every_n_train_steps=1", "callbacks.pictures.count=2", "~callbacks.progress"]
    small += ["+trainer.enable_progress_bar=false", "+trainer.enable_model_summary=false"]
    cfg = composed(
        "train", made, "debug=fast", f"data.train={sets}", f"data.val={sets}", "model.net={_target_: tiny.TinyNetwork}",
        f"paths.cache={folder / 'cache'}", "optim=adamw_onecycle", "callbacks=ema", *small, *more,
    )  # fmt: skip
    bpr.models.trainer.load_segmenter = lambda path: None
    main, last = script("train"), made / "checkpoints" / "last.ckpt"
    sys.modules["matplotlib"] = None  # takes longer than all the rest

    def run(*changes: str) -> None:
        again = changed(cfg, changes)
        first = next((path for path in last.parent.glob("step*.ckpt") if not last.exists()), None)
        again.ckpt = str(first or last) if first or last.exists() else None
        main(again)

    return run
