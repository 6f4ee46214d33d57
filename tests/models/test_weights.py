"""Weights come from our checkpoints, the authors' released files and safetensors, or with a clear error."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bpr.models import weights
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError, load_segmenter, resolve_checkpoint, save_segmenter

Released = Callable[[str], Path]
Contents = dict[str, Any]


@pytest.fixture
def contents(released: Released) -> Contents:
    """What the released file of the small network holds, free to be changed."""
    read: Contents = torch.load(released("hrnet18s_128"), weights_only=True)
    return read


@pytest.fixture(scope="module")
def segmenter() -> PatchSegmenter:
    """A network with batch statistics that are not those of a new one."""
    torch.manual_seed(1)
    network = PatchSegmenter(input_size=64)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_var is not None
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def lightning_checkpoint(segmenter: PatchSegmenter) -> Contents:
    entries = {f"segmenter.{name}": value for name, value in segmenter.state_dict().items()}
    return {
        "state_dict": {**entries, "val_iou.total": torch.tensor(3.0)},
        "hyper_parameters": {"segmenter": segmenter.config, "learning_rate": 0.01},
        "epoch": 3,
    }


def save(contents: object, path: Path) -> Path:
    torch.save(contents, path)
    return path


def assert_same_weights(ours: PatchSegmenter, theirs: PatchSegmenter) -> None:
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("name", "backbone", "input_size"),
    [("hrnet18s_128", "hrnet_w18_small_v2", 128), ("hrnet48_256", "hrnet_w48", 256)],
)
def test_released_files_give_the_golden_logits(
    shared_dir: Path, released: Released, name: str, backbone: str, input_size: int
) -> None:
    golden = np.load(shared_dir / "golden" / f"{name}.npz")
    segmenter = load_segmenter(released(name))
    assert segmenter.config == {"backbone": backbone, "input_size": input_size, "pretrained": False, "trust": False}
    images = torch.from_numpy(golden["image"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = segmenter(images, torch.from_numpy(golden["mask"]))[:, :, ::4, ::4].numpy()
    expected = golden["logits_stride4"]
    # Logits near zero are differences of large terms: their rounding error scales with the largest logit
    # (55 and 7224 here), about 20 float32 steps of which are allowed. Measured: 1.4e-6 and 1.7e-6 of it.
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-6 * np.abs(expected).max())


def test_released_files_of_a_distributed_run_load_alike(released: Released, contents: Contents, tmp_path: Path) -> None:
    prefixed = {f"module.{name}": value for name, value in contents["state_dict"].items()}
    path = save({"meta": {}, "state_dict": prefixed}, tmp_path / "ddp.pth")
    assert_same_weights(load_segmenter(path), load_segmenter(released("hrnet18s_128")))


def test_batch_counters_may_be_absent(contents: Contents, released: Released, tmp_path: Path) -> None:
    entries = {k: v for k, v in contents["state_dict"].items() if not k.endswith("num_batches_tracked")}
    path = save({"state_dict": entries}, tmp_path / "old.pth")
    assert_same_weights(load_segmenter(path), load_segmenter(released("hrnet18s_128")))


def test_own_checkpoint_round_trip(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    loaded = load_segmenter(save(lightning_checkpoint(segmenter), tmp_path / "ours.ckpt"))
    assert loaded.config == segmenter.config
    assert not loaded.training
    assert_same_weights(loaded, segmenter)


def test_a_pretrained_config_is_loaded_without_the_hub(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    checkpoint = lightning_checkpoint(segmenter)
    checkpoint["hyper_parameters"]["segmenter"] = {**segmenter.config, "pretrained": True}
    assert_same_weights(load_segmenter(save(checkpoint, tmp_path / "ours.ckpt")), segmenter)


def test_safetensors_round_trip(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    save_segmenter(segmenter, tmp_path / "a.safetensors")
    loaded = load_segmenter(tmp_path / "a.safetensors")
    assert loaded.config == segmenter.config
    assert not loaded.training
    assert_same_weights(loaded, segmenter)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("trust", [None, True])
@pytest.mark.parametrize(("dtype", "device"), [(torch.bfloat16, "cpu"), (torch.float32, "meta")])
def test_networks_are_float32_on_the_cpu_whatever_torch_makes_by_default(
    segmenter: PatchSegmenter, tmp_path: Path, trust: bool | None, dtype: torch.dtype, device: str
) -> None:
    save_segmenter(segmenter, tmp_path / "a.safetensors")
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            loaded = load_segmenter(tmp_path / "a.safetensors", trust=trust)
        assert torch.get_default_dtype() is dtype
    finally:
        torch.set_default_dtype(torch.float32)
    tensors = [*loaded.parameters(), *(buffer for buffer in loaded.buffers() if buffer.is_floating_point())]
    assert {(tensor.dtype, tensor.device.type) for tensor in tensors} == {(torch.float32, "cpu")}
    assert torch.equal(loaded.pixel_mean, segmenter.pixel_mean)


def test_half_safetensors_round_trip(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    network = PatchSegmenter(input_size=64)
    network.load_state_dict(segmenter.state_dict())
    network = network.to(memory_format=torch.channels_last)
    save_segmenter(network, tmp_path / "full.safetensors")
    save_segmenter(network, tmp_path / "half.safetensors", half=True)
    loaded = load_segmenter(tmp_path / "half.safetensors")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    originals = segmenter.state_dict()
    for name, value in loaded.state_dict().items():
        expected = originals[name]
        assert value.dtype == expected.dtype
        # float16 has 11 significant bits; below 6e-5 it is subnormal with steps of 6e-8.
        torch.testing.assert_close(value, expected, rtol=2**-11, atol=6e-8)
        assert value.ndim > 1 or torch.equal(value, expected)


def test_weights_beyond_float16_are_not_written(tmp_path: Path) -> None:
    network = PatchSegmenter(input_size=32)
    torch.nn.init.constant_(network.decode_head.conv_seg.weight, 1e6)
    with pytest.raises(ValueError, match=r"decode_head\.conv_seg\.weight.*not finite"):
        save_segmenter(network, tmp_path / "a.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


def test_save_refuses_another_suffix(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.safetensors"):
        save_segmenter(segmenter, tmp_path / "a.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("file", ["a.pth", "a.ckpt", "a.safetensors"])
def test_weights_that_are_not_finite_are_named(
    file: str, value: float, segmenter: PatchSegmenter, tmp_path: Path
) -> None:
    path, weights = tmp_path / file, {**segmenter.state_dict(), "decode_head.conv_seg.bias": torch.full((2,), value)}
    if path.suffix == ".safetensors":
        save_file(weights, path, metadata={"segmenter": json.dumps(segmenter.config)})
    elif path.suffix == ".ckpt":
        entries = {f"segmenter.{name}": tensor for name, tensor in weights.items()}
        save({**lightning_checkpoint(segmenter), "state_dict": entries}, path)
    else:
        weights["backbone.conv1.weight"] = weights.pop("backbone.conv1.image.weight")
        weights["backbone.conv_mask.weight"] = weights.pop("backbone.conv1.mask.weight")
        save(weights, path)
    with pytest.raises(CheckpointError, match=rf"{file}: decode_head\.conv_seg\.bias .*not finite.*earlier"):
        load_segmenter(path)


def test_other_parts_of_a_checkpoint_need_not_be_finite(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    checkpoint = lightning_checkpoint(segmenter)
    checkpoint["state_dict"]["val_iou.total"] = torch.tensor(float("nan"))
    assert_same_weights(load_segmenter(save(checkpoint, tmp_path / "ours.ckpt")), segmenter)


@pytest.mark.parametrize("kind", ["released", "lightning", "safetensors"])
def test_input_size_can_be_overridden(kind: str, released: Released, segmenter: PatchSegmenter, tmp_path: Path) -> None:
    paths = {
        "released": released("hrnet18s_128"),
        "lightning": save(lightning_checkpoint(segmenter), tmp_path / "a.ckpt"),
        "safetensors": tmp_path / "a.safetensors",
    }
    save_segmenter(segmenter, paths["safetensors"])
    assert load_segmenter(paths[kind], input_size=96).input_size == 96


def test_a_bad_input_size_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        load_segmenter(tmp_path / "none.pth", input_size=48)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pth: no such file"):
        load_segmenter(tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("noise", [b"", b"no weights here", b"PK\x03\x04 cut off"])
def test_other_files_are_refused(tmp_path: Path, suffix: str, noise: bytes) -> None:
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(noise)
    with pytest.raises(CheckpointError, match=f"noise{suffix}: not a"):
        load_segmenter(path)


def test_a_truncated_checkpoint_is_refused(released: Released, tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    path.write_bytes(released("hrnet18s_128").read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"half\.pth: not a"):
        load_segmenter(path)


def test_wrong_layout_names_missing_and_unexpected_entries(contents: Contents, tmp_path: Path) -> None:
    entries = contents["state_dict"]
    entries["auxiliary_head.weight"] = entries.pop("backbone.conv_mask.weight")
    with pytest.raises(
        CheckpointError,
        match=r"odd\.pth.*1 missing \(backbone\.conv_mask\.weight\); 1 unexpected \(auxiliary_head\.weight\)",
    ):
        load_segmenter(save(contents, tmp_path / "odd.pth"))


def test_wrong_shapes_are_named(contents: Contents, tmp_path: Path) -> None:
    contents["state_dict"]["backbone.conv1.weight"] = torch.zeros(64, 4, 3, 3)
    with pytest.raises(
        CheckpointError,
        match=r"backbone\.conv1\.weight: expected \(64, 3, 3, 3\), got \(64, 4, 3, 3\).*Use a checkpoint",
    ):
        load_segmenter(save(contents, tmp_path / "odd.pth"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"missing \(backbone.*, \.\.\.\); 1 unexpected \(fc\.weight\)"):
        load_segmenter(path)


def test_incomplete_own_checkpoints_are_refused(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    checkpoint = lightning_checkpoint(segmenter)
    del checkpoint["state_dict"]["segmenter.decode_head.conv_seg.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(decode_head\.conv_seg\.bias\)"):
        load_segmenter(save(checkpoint, tmp_path / "ours.ckpt"))


def test_own_checkpoints_need_their_config(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    checkpoint = lightning_checkpoint(segmenter)
    del checkpoint["hyper_parameters"]["segmenter"]
    with pytest.raises(CheckpointError, match=r'no network config in hyper_parameters\["segmenter"\]'):
        load_segmenter(save(checkpoint, tmp_path / "ours.ckpt"))


def test_a_config_that_builds_no_network_is_shown(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    checkpoint = lightning_checkpoint(segmenter)
    checkpoint["hyper_parameters"]["segmenter"] = {"backbone": "resnet18"}
    with pytest.raises(CheckpointError, match=r"ours\.ckpt.*resnet18.*not an HRNet"):
        load_segmenter(save(checkpoint, tmp_path / "ours.ckpt"))


def test_safetensors_need_their_config(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    save_file(segmenter.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="no network config in its metadata"):
        load_segmenter(tmp_path / "bare.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, {"state_dict": None}])
def test_checkpoints_without_tensors_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"list\.pth: (expected a dict|no state_dict)"):
        load_segmenter(save(content, tmp_path / "list.pth"))


def test_trust_can_be_added_to_train_it_and_left_out(segmenter: PatchSegmenter, tmp_path: Path) -> None:
    save_segmenter(segmenter, tmp_path / "without.safetensors")
    added = load_segmenter(tmp_path / "without.safetensors", trust=True)
    assert added.trust
    assert_same_weights(load_segmenter(tmp_path / "without.safetensors"), segmenter)
    torch.nn.init.normal_(added.decode_head.conv_trust.weight)
    save_segmenter(added, tmp_path / "with.safetensors")
    assert_same_weights(load_segmenter(tmp_path / "with.safetensors"), added)
    left_out = load_segmenter(tmp_path / "with.safetensors", trust=False)
    assert not left_out.trust
    assert_same_weights(left_out, segmenter)


def test_bundled_weights_are_those_that_were_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = resolve_checkpoint("hrnet18s").parent
    for name in ("hrnet18s.safetensors", "SHA256SUMS"):
        shutil.copy(shipped / name, tmp_path)
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    assert resolve_checkpoint("hrnet18s") == tmp_path / "hrnet18s.safetensors"
    with (tmp_path / "hrnet18s.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x5a")
    with pytest.raises(CheckpointError, match=r"hrnet18s\.safetensors: is not the file that was shipped.*install bpr"):
        resolve_checkpoint("hrnet18s")
