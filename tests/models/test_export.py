from importlib.util import find_spec

import pytest
import torch
from torch import nn

from bpr.models import export
from bpr.models.export import main
from bpr.models.openvino_network import import_openvino
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter


@pytest.fixture
def unwritable(tmp_path):
    """A name in a folder that cannot be made, as a file has its name."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "net.onnx"


def test_an_output_that_cannot_be_written_ends_with_exit_code_2(unwritable):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    assert main(["hrnet18s", str(unwritable)]) == 2


def test_an_output_that_cannot_be_written_is_named_in_one_line(unwritable, capsys):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    main(["hrnet18s", str(unwritable)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert str(unwritable.parent) in line


def test_the_command_writes_the_network_for_patches_of_any_side(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    if not find_spec("openvino"):
        pytest.skip("the extra openvino is not installed, which reads ONNX")
    torch.manual_seed(0)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32).eval()
    nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    save_segmenter(segmenter, tmp_path / "w.safetensors")
    assert main([str(tmp_path / "w.safetensors"), str(tmp_path / "w.onnx")]) == 0
    network = import_openvino().Core().compile_model(str(tmp_path / "w.onnx"), "CPU")
    for side in (24, 64):
        images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
        masks = torch.rand(2, side, side) > 0.5
        (found,) = network({"images": images.numpy(), "masks": masks.numpy()}).values()
        with torch.inference_mode():
            expected = segmenter.foreground_probability(images, masks)
        torch.testing.assert_close(
            torch.from_numpy(found), expected, rtol=0, atol=1e-2
        )  # bfloat16, where there is some


def test_missing_packages_are_named_with_the_extra_that_has_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(export, "find_spec", lambda package: None if package == "onnxscript" else True)
    assert main(["hrnet18s", str(tmp_path / "x.onnx")]) == 2
    assert "needs onnxscript: pip install -e '.[onnx]'" in capsys.readouterr().err


def test_unknown_weights_are_named(tmp_path, capsys):
    assert main(["nowhere", str(tmp_path / "x.onnx")]) == 2
    assert "nowhere: no such file" in capsys.readouterr().err


def test_an_export_does_not_replace_its_weights(tmp_path, capsys):
    weights = tmp_path / "w.safetensors"
    save_segmenter(PatchSegmenter("hrnet_w18_small", input_size=32), weights)
    before = weights.read_bytes()
    assert main([str(weights), str(weights)]) == 2
    assert "is the input" in capsys.readouterr().err
    assert weights.read_bytes() == before
