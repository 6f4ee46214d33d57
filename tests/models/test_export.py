import pytest

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


def test_an_export_does_not_replace_its_weights(tmp_path, capsys):
    weights = tmp_path / "w.safetensors"
    save_segmenter(PatchSegmenter(input_size=32), weights)
    before = weights.read_bytes()
    assert main([str(weights), str(weights)]) == 2
    assert "is the input" in capsys.readouterr().err
    assert weights.read_bytes() == before
