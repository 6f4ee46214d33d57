from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from bpr.data.batches import PatchBatch
from bpr.models.refiner import PatchRefiner
from bpr.models.segmenter import PatchSegmenter
from bpr.models.trainer import build_trainer, check_resumable
from bpr.models.weights import CheckpointError, save_segmenter
from bpr.structures import SettingError


def refiner(backbone="hrnet_w18_small", optimizer=torch.optim.SGD, **options):
    return PatchRefiner(PatchSegmenter(backbone, 32), partial(optimizer, lr=0.01, **options))


def fit(module, batch, folder):
    trainer = pl.Trainer(
        max_steps=2, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader([batch] * 2, batch_size=None))
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.fixture(scope="module")
def batch():
    masks = torch.ones(2, 32, 32, dtype=torch.bool)
    return PatchBatch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), masks, masks)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, batch):
    """Of a training of two steps; read only."""
    return fit(refiner(), batch, tmp_path_factory.mktemp("training"))


def test_a_trainer_is_built_from_its_settings():
    assert build_trainer(partial(pl.Trainer, accelerator="cpu", devices=1), max_steps=3, logger=False).max_steps == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"strategy": "ddq"}, "^trainer: You selected an invalid strategy name: `strategy='ddq'`"),
        ({"precision": "17"}, "^trainer: Precision '17' is invalid. Allowed precision values: "),
        ({"accelerator": "gpy"}, "^trainer: You selected an invalid accelerator name"),
        ({"devices": 0}, r"^trainer: `Trainer\(devices=0\)` value is not a valid input"),
        ({"max_stepz": 1}, "^trainer: .*max_stepz"),
    ],
)
def test_what_lightning_refuses_is_one_line(setting, message):
    with pytest.raises(SettingError, match=message) as error:
        build_trainer(pl.Trainer, **{"accelerator": "cpu", "logger": False, **setting})
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_missing_gpu_ends_with_what_to_do(accelerator):
    with pytest.raises(SettingError, match=r"trainer\.accelerator=auto"):
        build_trainer(pl.Trainer, accelerator=accelerator, logger=False)


def test_a_checkpoint_of_the_same_network_is_resumable_and_can_be_prolonged(checkpoint):
    check_resumable(checkpoint, refiner(), 3)
    check_resumable(checkpoint, refiner(), -1)


def test_a_finished_training_says_how_to_prolong_it(checkpoint):
    with pytest.raises(SettingError, match=r"has 2 steps already: set trainer\.max_steps above that"):
        check_resumable(checkpoint, refiner(), 2)


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is of the network .*w18_small'.* but `model` is .*w18'"):
        check_resumable(checkpoint, refiner("hrnet_w18"), 3)


def test_a_checkpoint_of_another_optimizer_is_refused(checkpoint, tmp_path, batch):
    with pytest.raises(SettingError, match=r"was trained by another optimizer .* model=checkpoint model\.net\.path="):
        check_resumable(checkpoint, refiner(optimizer=torch.optim.AdamW), 3)
    other = fit(refiner(optimizer=torch.optim.AdamW), batch, tmp_path)
    check_resumable(other, refiner(optimizer=torch.optim.AdamW), 3)
    with pytest.raises(SettingError, match="was trained by another optimizer"):
        check_resumable(other, refiner(momentum=0.9), 3)


@pytest.mark.parametrize("scheduler", [None, partial(torch.optim.lr_scheduler.ConstantLR)])
def test_a_resumed_training_has_the_settings_of_its_optimizer_but_for_scheduled_ones(checkpoint, scheduler):
    changed = {"lr": 0.5, "weight_decay": 0.25, "momentum": 0.75}
    module = PatchRefiner(PatchSegmenter("hrnet_w18_small", 32), partial(torch.optim.SGD, **changed), scheduler)
    state = torch.load(checkpoint, weights_only=True)
    before = state["optimizer_states"][0]["param_groups"][0]
    expected = {**before, "weight_decay": 0.25, **({"lr": 0.5} if scheduler is None else {})}
    module.on_load_checkpoint(state)
    assert state["optimizer_states"][0]["param_groups"] == [expected]


def test_groups_of_weights_keep_settings_of_their_own(tmp_path, batch):
    def grouped(parameters, decay):
        first, *others = parameters
        return torch.optim.AdamW([{"params": [first], "weight_decay": 0.0}, {"params": others}], weight_decay=decay)

    module = PatchRefiner(PatchSegmenter("hrnet_w18_small", 32), partial(grouped, decay=0.5))
    state = torch.load(fit(module, batch, tmp_path), weights_only=True)
    PatchRefiner(PatchSegmenter("hrnet_w18_small", 32), partial(grouped, decay=0.25)).on_load_checkpoint(state)
    assert [group["weight_decay"] for group in state["optimizer_states"][0]["param_groups"]] == [0.0, 0.25]


def test_weights_alone_are_refused_with_how_to_start_from_them(tmp_path):
    save_segmenter(PatchSegmenter(input_size=32), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"no training to resume.*model=checkpoint model\.net\.path="):
        check_resumable(tmp_path / "weights.safetensors", refiner(), 3)


def test_released_weights_are_no_training(released):
    with pytest.raises(CheckpointError, match="no training to resume"):
        check_resumable(released("hrnet18s_128"), refiner(), 3)


def test_a_checkpoint_of_another_module_is_refused(tmp_path):
    torch.save({"state_dict": {"layer.weight": torch.zeros(1)}, "hyper_parameters": {}, "loops": {}, "global_step": 1,
                "optimizer_states": []}, tmp_path / "other.ckpt")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"other\.ckpt: no network config"):
        check_resumable(tmp_path / "other.ckpt", refiner(), 3)


@pytest.mark.parametrize("content", [b"hello", None])
def test_other_files_and_missing_ones_are_refused(tmp_path, content):
    path = tmp_path / "file.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file\.ckpt: "):
        check_resumable(path, refiner(), 3)


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true"])
def test_a_precision_that_converts_batches_is_refused(precision):
    with pytest.raises(SettingError, match=rf"trainer\.precision must be one of 32-true.*, got {precision}"):
        build_trainer(pl.Trainer, precision=precision, accelerator="cpu", logger=False, enable_checkpointing=False)
