import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate

from bpr.config import register_schemas
from bpr.models.segmenter import PatchSegmenter
from bpr.structures import PatchSpec

CONF = Path(__file__).parents[1] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.fixture
def composed():
    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda name, *overrides: compose(name, list(overrides), return_hydra_config=False)
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_its_parts_are_built(composed, experiment):
    cfg = composed("train", f"experiment={experiment}")
    assert PatchSpec(**cfg.patch).size == 64
    if cfg.model.net._target_.endswith("PatchSegmenter"):
        cfg.model.net.pretrained = False
        segmenter = instantiate(cfg.model.net)
        assert isinstance(segmenter, PatchSegmenter)
        optimizer = instantiate(cfg.optim.optimizer)(segmenter.parameters())
        scheduler = instantiate(cfg.optim.scheduler)(optimizer)
        assert scheduler.get_last_lr()[0] <= cfg.optim.optimizer.lr
    assert callable(instantiate(cfg.augment))


def test_without_arguments_the_shipped_weights_are_trained_on_the_demo(composed):
    cfg = composed("train")
    assert cfg.data.val[0]._target_ == "bpr.data.settings.demo_source"
    assert cfg.model.net.path.name == "hrnet18s"
    assert cfg.trainer.max_steps < 1000


@pytest.mark.parametrize(("experiment", "batch"), [("hrnet18s_128", 128), ("hrnet48_256", 24)])
def test_the_recipes_of_the_paper_train_on_coco(composed, experiment, batch):
    cfg = composed("train", f"experiment={experiment}")
    assert cfg.data.train[0].images.endswith("cityscapes/leftImg8bit/train")
    assert (cfg.data.batch_size, cfg.trainer.max_steps, cfg.patch.nms_iou) == (batch, 160000, 0.25)


@pytest.mark.parametrize("debug", ["fast", "overfit"])
def test_debugging_starts_from_noise_on_the_demo_or_with_a_recipe_on_its_data(composed, debug):
    alone, recipe = composed("train", f"debug={debug}"), composed("train", f"debug={debug}", "experiment=hrnet48_256")
    assert not alone.model.net.pretrained
    assert "demo" in alone.data.train[0]._target_
    assert recipe.model.net.backbone == "hrnet_w48"
    assert recipe.data.train[0].images.endswith("cityscapes/leftImg8bit/train")


@pytest.mark.parametrize("group", ["debug", "data", "logger", "trainer", "callbacks", "optim", "model", "augment"])
def test_every_choice_of_every_group_composes(composed, group):
    choices = [path.stem for path in (CONF / group).glob("*.yaml") if path.stem not in ("base", "predict")]
    assert choices
    for choice in choices:
        composed("train", f"{group}={choice}")


@pytest.mark.parametrize(
    ("name", "override", "key"),
    [
        ("train", "patch.sise=64", "patch.sise"),
        ("train", "patch.size=large", "patch.size"),
        ("train", "data.batchsize=4", "data.batchsize"),
        ("train", "data.coarse=real", "data.coarse"),
        ("train", "data.simulation.spil=0.1", "data.simulation.spil"),
        ("train", "trainer.max_stepz=4", "trainer.max_stepz"),
        ("refine", "predictins=a.json", "predictins"),
        ("refine", "threshold=high", "threshold"),
    ],
)
def test_typos_and_bad_values_fail_at_composition_and_name_the_key(composed, name, override, key):
    with pytest.raises(ConfigCompositionException) as error:
        composed(name, override)
    assert key in str(error.value) + str(error.value.__cause__)


def test_paths_come_from_the_environment(composed, monkeypatch):
    monkeypatch.setenv("BPR_DATA", "/somewhere")
    assert composed("train", "data=coco").data.train[0].images == "/somewhere/coco/train2017"
    assert os.environ["BPR_DATA"] == "/somewhere"
    monkeypatch.undo()
