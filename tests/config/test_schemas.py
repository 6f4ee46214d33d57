import os
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException

from bpr.config.schemas import build, refine_values
from bpr.data.settings import TrainingData
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError
from bpr.structures import PatchSpec, SettingError
from bpr.synthetic import demo

CONF = Path(__file__).parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_its_parts_are_built(composed, experiment):
    cfg = composed("train", f"experiment={experiment}")
    assert PatchSpec(**cfg.patch).size == 64
    if cfg.model.net._target_.endswith("PatchSegmenter"):
        cfg.model.net.pretrained = False
        segmenter = build(cfg.model.net)
        assert isinstance(segmenter, PatchSegmenter)
        optimizer = build(cfg.optim.optimizer)(segmenter.parameters())
        scheduler = build(cfg.optim.scheduler)(optimizer)
        assert scheduler.get_last_lr()[0] <= cfg.optim.optimizer.lr
    assert callable(build(cfg.augment))


def test_without_arguments_the_shipped_weights_are_trained_on_the_demo(composed):
    cfg = composed("train")
    assert [source.split for source in (*cfg.data.train, *cfg.data.val)] == ["train", "val"]
    assert cfg.model.net.path.name == "hrnet18s"
    assert cfg.trainer.max_steps < 1000


@pytest.mark.parametrize(("experiment", "batch"), [("hrnet18s_128", 128), ("hrnet48_256", 24)])
def test_the_recipes_of_the_paper_train_on_cityscapes(composed, experiment, batch):
    cfg = composed("train", f"experiment={experiment}")
    assert cfg.data.train[0].images.endswith("cityscapes/leftImg8bit/train")
    assert (cfg.data.batch_size, cfg.trainer.max_steps, PatchSpec(**cfg.patch).nms_iou) == (batch, 160000, 0.25)


@pytest.mark.parametrize("debug", ["fast", "overfit"])
def test_debugging_starts_from_noise_on_the_demo_or_with_a_recipe_on_its_data(composed, debug):
    alone, recipe = composed("train", f"debug={debug}"), composed("train", f"debug={debug}", "experiment=hrnet48_256")
    assert not alone.model.net.pretrained
    assert alone.data.train[0].root.endswith("demo")
    assert recipe.model.net.backbone == "hrnet_w48"
    assert recipe.data.train[0].images.endswith("cityscapes/leftImg8bit/train")


@pytest.mark.parametrize("debug", ["fast", "overfit"])
def test_debugging_may_start_from_weights(composed, debug):
    cfg = composed("train", f"debug={debug}", "experiment=demo")
    assert build(cfg.model.net).input_size == cfg.model.net.input_size


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


def test_the_demo_is_made_for_a_training_with_an_empty_cache(composed, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "COUNTS", {"train": 1, "val": 1})
    data = build(composed("train", f"paths.cache={tmp_path}").data)
    assert isinstance(data, TrainingData)
    assert data.cache == tmp_path / "index"
    assert all(source.annotations.is_file() for source in (*data.train, *data.val))


def test_the_settings_of_a_training_are_those_of_its_recipe(composed):
    data = build(composed("train", "experiment=hrnet48_256", "data.coarse=both", "data.simulation.severity=2").data)
    assert (data.batch_size, data.coarse, data.simulation.severity, data.seed) == (24, "both", 2, 0)
    assert data.val[0].images.endswith("cityscapes/leftImg8bit/val")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.batch_size=5", r"^data\.batch_size \(5\) must be a multiple of data\.patches_per_image"),
        ("data.train=[{imges: a}]", "has no imges: did you mean images"),
        ("data.simulation.severity=0", r"^data\.simulation\.severity must be above 0"),
        ("model.net.input_size=50", r"^model\.net: input_size must be a positive multiple of 32"),
        ("augment.transforms.0.p=3", "^augment.*less than or equal to 1"),
        ("callbacks.checkpoint.every_n_train_steps=-4", "^callbacks.checkpoint: Invalid value"),
    ],
)
def test_what_a_constructor_refuses_is_one_line_that_names_the_setting(composed, override, message):
    fixed = ["experiment=hrnet18s_128", "model.net.pretrained=false", "callbacks.checkpoint.dirpath=null"]
    cfg = composed("train", *fixed, override)
    with pytest.raises(SettingError, match=message) as error:
        build(cfg[override.partition(".")[0]])
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(composed):
    with pytest.raises(SettingError, match=r"^model\.net\.path is missing: give model\.net\.path=VALUE$"):
        build(composed("train", "model=checkpoint").model)


@pytest.mark.parametrize("val", ["[]", "null"])
def test_a_data_set_without_a_part_to_refine_is_named(composed, val):
    with pytest.raises(SettingError, match=r"has no data\.val, .*: give images and predictions$"):
        refine_values(composed("refine", "data=coco", f"data.val={val}"))


def test_errors_of_the_package_come_out_of_hydra_as_they_are(composed, tmp_path):
    cfg = composed("train", "model=checkpoint", f"model.net.path={tmp_path / 'absent.ckpt'}")
    with pytest.raises(CheckpointError, match=r"absent\.ckpt: no such file"):
        build(cfg.model.net)


def test_paths_come_from_the_environment(composed, monkeypatch):
    monkeypatch.setenv("BPR_DATA", "/somewhere")
    assert composed("train", "data=coco").data.train[0].images == "/somewhere/coco/train2017"
    assert os.environ["BPR_DATA"] == "/somewhere"
    monkeypatch.undo()
