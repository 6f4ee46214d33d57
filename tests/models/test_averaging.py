import pytest
import torch

from bpr.models.averaging import main
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import load_segmenter, save_segmenter


@pytest.fixture
def two(tmp_path):
    torch.manual_seed(0)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        save_segmenter(PatchSegmenter("hrnet_w18_small", input_size=32), path)
    return paths


def test_the_command_writes_the_mean_of_all_weights(two, tmp_path):
    assert main([*map(str, two), str(tmp_path / "mean.safetensors")]) == 0
    a, b, mean = (load_segmenter(path).state_dict() for path in (*two, tmp_path / "mean.safetensors"))
    for name, value in mean.items():
        expected = (a[name] + b[name]) / 2 if value.is_floating_point() else b[name]
        torch.testing.assert_close(value, expected)


def test_networks_that_differ_are_refused(two, tmp_path, capsys):
    save_segmenter(PatchSegmenter("hrnet_w18_small", input_size=64), tmp_path / "other.safetensors")
    assert main([str(two[0]), str(tmp_path / "other.safetensors"), str(tmp_path / "mean.safetensors")]) == 2
    assert "networks must have one config" in capsys.readouterr().err
    assert not (tmp_path / "mean.safetensors").exists()


def test_the_mean_does_not_replace_one_of_its_parts(two, capsys):
    before = two[0].read_bytes()
    assert main([*map(str, two), str(two[0])]) == 2
    assert "is the input" in capsys.readouterr().err
    assert two[0].read_bytes() == before
