import pytest
import torch
from torch import nn

from bpr.models import backends
from bpr.models.backends import Backend, cached_export, choose_backend, make_predict
from bpr.models.export import main
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter


@pytest.fixture(scope="module")
def segmenter():
    """Random weights and, so that folding matters, random statistics."""
    torch.manual_seed(0)
    segmenter = PatchSegmenter(input_size=32)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
    nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    nn.init.normal_(segmenter.backbone.conv1.mask.weight, std=0.1)
    return segmenter.eval()


@pytest.fixture
def patches():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (5, 3, 24, 24), dtype=torch.uint8, generator=generator)
    return images, torch.rand(5, 24, 24, generator=generator) > 0.5


@pytest.mark.parametrize("backend", [Backend.eager, Backend.onnxruntime])
@torch.inference_mode()
def test_every_backend_gives_the_probabilities_of_the_network(segmenter, patches, backend, tmp_path):
    if backend is Backend.onnxruntime:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    predict = make_predict(segmenter, backend, 24, tmp_path, torch.device("cpu"))
    for count in (5, 1, 2):
        expected = segmenter.foreground_probability(patches[0][:count], patches[1][:count])
        found = predict(patches[0][:count], patches[1][:count])
        # Folded norms and other convolution kernels round differently.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert ((found > 0.5) == (expected > 0.5)).float().mean() >= 0.9999


@pytest.mark.parametrize("threads", [1, 2, 3])
@torch.inference_mode()
def test_onnxruntime_gives_the_same_for_every_number_of_threads(segmenter, patches, threads, tmp_path_factory):
    """Each thread runs a share of the patches; they come back in order."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    before, cache = torch.get_num_threads(), tmp_path_factory.getbasetemp() / "threads"
    torch.set_num_threads(threads)
    try:
        predict = make_predict(segmenter, Backend.onnxruntime, 24, cache, torch.device("cpu"))
    finally:
        torch.set_num_threads(before)
    images, masks = (of.repeat(8, 1, 1, 1)[:37] if of.ndim == 4 else of.repeat(8, 1, 1)[:37] for of in patches)
    expected = segmenter.foreground_probability(images, masks)
    # Kernels for one patch and for several round differently.
    torch.testing.assert_close(predict(images, masks), expected, rtol=0, atol=1e-4)
    predict._pool.shutdown()  # as at the end of Python's main thread, which other threads may outlive
    torch.testing.assert_close(predict(images, masks), expected, rtol=0, atol=1e-4)


def test_folding_leaves_the_network_itself_alone(segmenter):
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    make_predict(segmenter, Backend.eager, 24, None, torch.device("cpu"))
    assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())


def test_exports_are_kept_by_their_weights(segmenter, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "bpr.models.backends.export_onnx", lambda network, path, side: written.append(path) or path.touch()
    )
    first = cached_export(segmenter, 24, tmp_path)
    assert cached_export(segmenter, 24, tmp_path) == first
    assert cached_export(segmenter, 32, tmp_path) != first
    assert len(written) == 2


def test_the_command_exports_a_file_that_runs(segmenter, patches, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    save_segmenter(segmenter, tmp_path / "w.safetensors")
    assert main([str(tmp_path / "w.safetensors"), str(tmp_path / "w.onnx"), "--patch-size", "24"]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "w.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": patches[0].numpy(), "masks": patches[1].numpy()})[0]
    assert found.shape == (5, 24, 24)
    assert main(["nowhere", str(tmp_path / "x.onnx")]) == 2
    assert "nowhere: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "instances", "installed", "expected"),
    [
        ("cpu", 5000, True, Backend.onnxruntime),
        ("cpu", 5000, False, Backend.eager),
        ("cpu", 10, True, Backend.eager),  # the export would take longer
        ("cuda", 5000, True, Backend.eager),
    ],
)
def test_the_backend_is_chosen_for_the_device_and_the_work(monkeypatch, device, instances, installed, expected):
    monkeypatch.setattr(backends, "find_spec", lambda package: installed or None)
    assert choose_backend(torch.device(device), instances) is expected


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@torch.inference_mode()
def test_masks_agree_at_lower_precision(segmenter, patches, precision):
    """As Lightning's precision plugins run `predict_step`: under autocast."""
    predict = make_predict(segmenter, Backend.eager, 24, None, torch.device("cpu"))
    expected = predict(*patches)
    with torch.autocast("cpu", torch.bfloat16 if precision.startswith("bf16") else torch.float16):
        found = predict(*patches)
    assert found.dtype == torch.float32
    # The random network's probabilities crowd around 1/2, where bfloat16 (8 bits) decides otherwise now and then.
    assert ((found > 0.5) == (expected > 0.5)).float().mean() > 0.98
