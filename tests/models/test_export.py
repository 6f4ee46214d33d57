import pytest
import torch

from bpr.models.export import main
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


def test_the_command_writes_a_network_for_patches_of_any_side(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    save_segmenter(PatchSegmenter("hrnet_w18_small", input_size=32), tmp_path / "w.safetensors")
    assert main([str(tmp_path / "w.safetensors"), str(tmp_path / "w.onnx")]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "w.onnx"), providers=["CPUExecutionProvider"])
    for side in (24, 64):
        images, masks = torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.zeros(2, side, side, dtype=torch.bool)
        assert session.run(None, {"images": images.numpy(), "masks": masks.numpy()})[0].shape == (2, side, side)


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
