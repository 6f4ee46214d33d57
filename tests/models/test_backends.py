"""Every backend gives the probabilities of the network, wherever it runs and however patches are batched."""

import sys
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bpr.models import backends
from bpr.models.backends import (
    cache_folder,
    cached_export,
    check_backend,
    choose_backend,
    make_predict,
    usable_device,
)
from bpr.models.segmenter import PatchSegmenter
from bpr.structures import Backend, SettingError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter():
    """Random weights and, so that folding matters, random statistics."""
    torch.manual_seed(0)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
    nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    nn.init.normal_(segmenter.backbone.conv1.mask.weight, std=0.1)
    return segmenter.eval()


def patches(count, side=24):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    return images, torch.rand(count, side, side, generator=generator) > 0.5


def assert_agree(found, expected):
    assert found.dtype == torch.float32
    # Folded norms and other convolution kernels round differently.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert ((found > 0.5) == (expected > 0.5)).float().mean() >= 0.9995


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Where exports are kept, so that the network is exported once."""
    return tmp_path_factory.mktemp("exports")


def require(backend):
    """Skip where the backend's packages are missing."""
    if backend is Backend.onnxruntime:
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
        pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.fixture(scope="module", params=list(Backend))
def predict(request, segmenter, exports):
    require(request.param)
    with pytest.MonkeyPatch.context() as patch:
        # Traced, but run by torch: to generate code takes minutes for each kind of shape.
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        yield make_predict(segmenter, request.param, CPU, exports)


class TestEveryBackend:
    """What holds for each way to run a network; a new one is one more value of `Backend`."""

    @pytest.fixture(autouse=True)
    def _without_gradients(self):
        with torch.inference_mode():
            yield

    @pytest.mark.parametrize("count", [1, 3, 17])
    def test_any_number_of_patches_gets_the_probabilities_of_the_network(self, predict, segmenter, count):
        assert_agree(predict(*patches(count)), segmenter.foreground_probability(*patches(count)))

    @pytest.mark.parametrize("side", [16, 32, 50])
    def test_patches_of_any_side_get_the_probabilities_of_the_network(self, predict, segmenter, side):
        assert_agree(predict(*patches(3, side)), segmenter.foreground_probability(*patches(3, side)))

    def test_no_patches_give_no_probabilities(self, predict):
        found = predict(*patches(0))
        assert (found.shape, found.dtype) == ((0, 24, 24), torch.float32)

    def test_several_threads_may_share_it(self, predict, segmenter):
        found = {}

        def work(count):
            with torch.inference_mode():
                found[count] = predict(*patches(count))

        threads = [threading.Thread(target=work, args=(count,)) for count in (1, 2, 3, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for count in (1, 2, 3, 5):
            assert_agree(found[count], segmenter.foreground_probability(*patches(count)))

    def test_the_network_itself_is_left_alone(self, request, predict, segmenter, exports):
        before = {name: value.clone() for name, value in segmenter.state_dict().items()}
        make_predict(segmenter, request.node.callspec.params["predict"], CPU, exports)
        assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("backend", [Backend.eager, Backend.onnxruntime])
@torch.inference_mode()
def test_the_number_of_threads_of_torch_does_not_matter(segmenter, exports, backend, threads):
    require(backend)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = make_predict(segmenter, backend, CPU, exports)(*patches(17))
    finally:
        torch.set_num_threads(before)
    assert_agree(found, segmenter.foreground_probability(*patches(17)))


def test_an_export_runs_in_a_plain_session(segmenter, exports):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    require(Backend.onnxruntime)
    exported = cached_export(segmenter, exports)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    images, masks = patches(5)
    (found,) = session.run(None, {"images": images.numpy(), "masks": masks.numpy()})
    with torch.inference_mode():
        assert_agree(torch.from_numpy(found), segmenter.foreground_probability(images, masks))


@pytest.fixture
def exported(monkeypatch):
    """Collects the files that would have been exported."""
    written = []
    monkeypatch.setattr(backends, "export_onnx", lambda network, path: written.append(path) or path.touch())
    return written


def test_exports_are_kept_by_their_weights(segmenter, tmp_path, exported):
    torch.manual_seed(1)
    first = cached_export(segmenter, tmp_path)
    assert cached_export(segmenter, tmp_path) == first
    assert cached_export(PatchSegmenter("hrnet_w18_small", input_size=32), tmp_path) != first
    assert len(exported) == 2


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("BPR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_the_cache_is_in_the_home_folder_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("BPR_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "bpr"


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


@pytest.fixture
def onnxruntime_for(monkeypatch):
    """Installs a stand-in for ONNX Runtime with the given providers, of which sessions load the given ones."""

    def install(available, loaded=()):
        def session(path, options, providers):
            install.asked = providers
            return SimpleNamespace(get_providers=lambda: list(loaded))

        module = SimpleNamespace(
            get_available_providers=lambda: list(available), SessionOptions=SimpleNamespace, InferenceSession=session
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        monkeypatch.setattr(backends, "find_spec", lambda package: True)

    return install


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_onnxruntime_without_the_gpu_that_is_asked_for_names_the_remedy(onnxruntime_for, device):
    onnxruntime_for(["CPUExecutionProvider"])
    with pytest.raises(SettingError, match=f"cannot use {device}.*onnxruntime-gpu.*backend=eager or device=cpu"):
        check_backend(Backend.onnxruntime, torch.device(device))


def test_nothing_is_exported_for_a_gpu_that_onnxruntime_cannot_use(onnxruntime_for, segmenter, tmp_path, exported):
    onnxruntime_for(["CPUExecutionProvider"])
    with pytest.raises(SettingError, match="onnxruntime-gpu"):
        make_predict(segmenter, Backend.onnxruntime, torch.device("cuda"), tmp_path)
    assert exported == []


def test_onnxruntime_whose_gpu_libraries_are_missing_does_not_run_on_the_cpu(
    onnxruntime_for, segmenter, tmp_path, exported
):
    """ONNX Runtime logs that it could not load them, and takes the CPU."""
    onnxruntime_for(["CUDAExecutionProvider", "CPUExecutionProvider"], loaded=["CPUExecutionProvider"])
    with pytest.raises(SettingError, match="cannot use cuda:1"):
        make_predict(segmenter, Backend.onnxruntime, torch.device("cuda:1"), tmp_path)


def test_onnxruntime_runs_on_the_gpu_that_is_asked_for(onnxruntime_for, segmenter, tmp_path, exported):
    onnxruntime_for(["CUDAExecutionProvider"], loaded=["CUDAExecutionProvider"])
    make_predict(segmenter, Backend.onnxruntime, torch.device("cuda:1"), tmp_path)
    assert onnxruntime_for.asked == [("CUDAExecutionProvider", {"device_id": 1})]


def test_missing_packages_are_named_with_the_extra_that_has_them(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda package: None if package == "onnxscript" else True)
    with pytest.raises(SettingError, match=r"needs onnxscript: pip install 'bpr\[onnx\]'"):
        check_backend(Backend.onnxruntime, CPU)


def test_a_gpu_that_is_not_there_is_refused_in_one_line_that_names_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SettingError, match=r"^device=cuda:9 cannot be used .*no CUDA GPUs: use device=cpu$") as caught:
        usable_device("cuda:9")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "cdua", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(SettingError, match=f"^device={device} cannot be used .*use device=cpu"):
        usable_device(device)


def test_without_a_name_there_is_always_a_device():
    assert usable_device(None).type in ("cpu", "cuda")


def test_a_misspelt_backend_is_refused_with_the_known_ones():
    with pytest.raises(SettingError, match="backend must be one of eager, compile, onnxruntime, got 'onyx'"):
        Backend("onyx")


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@torch.inference_mode()
def test_masks_agree_at_lower_precision(segmenter, precision):
    """As Lightning's precision plugins run `predict_step`: under autocast."""
    predict = make_predict(segmenter, Backend.eager, CPU)
    expected = predict(*patches(5))
    with torch.autocast("cpu", torch.bfloat16 if precision.startswith("bf16") else torch.float16):
        found = predict(*patches(5))
    assert found.dtype == torch.float32
    # The random network's probabilities crowd around 1/2, where bfloat16 (8 bits) decides otherwise now and then.
    assert ((found > 0.5) == (expected > 0.5)).float().mean() > 0.98


@pytest.mark.parametrize("backend", [Backend.eager, Backend.onnxruntime])
@torch.inference_mode()
def test_backends_give_trust_beside_the_probability(backend, exports):
    if backend is Backend.onnxruntime:
        pytest.importorskip("onnxruntime")
    torch.manual_seed(1)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32, trust=True).eval()
    nn.init.normal_(segmenter.decode_head.conv_trust.weight)
    predict, given = make_predict(segmenter, backend, CPU, exports), patches(5)
    answers = predict(*given)
    assert answers.shape == (5, 2, 24, 24)
    torch.testing.assert_close(answers[:, 0], segmenter.foreground_probability(*given), rtol=0, atol=1e-4)
    assert answers[:, 1].std() > 0.1
    assert predict(given[0][:0], given[1][:0]).shape == (0, 2, 24, 24)
