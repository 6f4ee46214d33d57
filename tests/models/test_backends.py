"""Every backend gives the probabilities of the network, wherever it runs and however patches are batched."""

import gc
import subprocess
import sys
import threading
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from bpr.models import backends, openvino_network
from bpr.models.backends import cache_folder, choose_backend, make_start, usable_device
from bpr.models.openvino_network import has_bfloat16, ir_of
from bpr.models.segmenter import PatchSegmenter
from bpr.structures import Backend, SettingError

EXACT = [backend for backend in Backend if backend is not Backend.openvino_int8]
"""Of the other, see ``test_quantisation.py``."""

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


def make_predict(*given):
    """What waits for each answer."""
    start = make_start(*given)
    return lambda images, masks: start(images, masks)()


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
    if backend.startswith("openvino") and not find_spec("openvino"):
        pytest.skip("the extra openvino is not installed")
    if backend is Backend.openvino_bf16 and not has_bfloat16():
        pytest.skip("this processor has no bfloat16")


@pytest.fixture(scope="module", params=EXACT)
def predict(request, segmenter, exports):
    require(request.param)
    with pytest.MonkeyPatch.context() as patch:
        # Traced, but run by torch: to generate code takes minutes for each kind of shape.
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        yield make_predict(segmenter, request.param, CPU, exports)


class TestEveryBackend:
    """What holds for each way to run a network but int8; a new one is one more value of `Backend`."""

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
@pytest.mark.parametrize("backend", [Backend.eager, Backend.openvino])
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


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_first_pass_is_that_of_one_thread_and_none_outlives_the_network(segmenter, exports, monkeypatch):
    """The first passes of two threads wait for each other for ever, now and then."""
    require(Backend.openvino)
    run, seen = openvino_network._run, []
    monkeypatch.setattr(
        openvino_network, "_run", lambda *given: (seen.append(threading.current_thread()), run(*given))[1]
    )
    network = openvino_network.OpenVinoNetwork(ir_of(segmenter, exports), "f32", 2)
    assert seen == [threading.current_thread()]
    network.start(*patches(5))()
    workers = [*seen[1:]]
    assert len(workers) == 2
    del network
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)


def test_a_converted_network_is_compiled_once(segmenter, exports, monkeypatch):
    require(Backend.openvino)
    made, make = [], backends.OpenVinoNetwork
    monkeypatch.setattr(backends, "OpenVinoNetwork", lambda *given: made.append(given) or make(*given))
    backends._openvino_network.cache_clear()
    first, second = (make_start(segmenter, Backend.openvino, CPU, exports) for _ in range(2))
    assert len(made) == 1
    assert torch.equal(first(*patches(2))(), second(*patches(2))())


@pytest.mark.usefixtures("two_threads")
@torch.inference_mode()
def test_more_passes_may_be_started_than_are_under_way_at_once(segmenter, exports):
    require(Backend.openvino)
    start = make_start(segmenter, Backend.openvino, CPU, exports)
    counts = [1 + number % 3 for number in range(2 * openvino_network._MOST_WAITING)]
    answers = [start(*patches(count)) for count in counts]
    expected = {count: segmenter.foreground_probability(*patches(count)) for count in set(counts)}
    for count, answer in zip(counts, answers, strict=True):
        assert_agree(answer(), expected[count])


@pytest.mark.usefixtures("two_threads")
def test_a_pass_that_fails_says_so_to_the_one_that_waits_for_it(segmenter, exports, monkeypatch):
    require(Backend.openvino)
    start = make_start(segmenter, Backend.openvino, CPU, exports)
    monkeypatch.setattr(openvino_network, "_run", lambda *_: 1 / 0)
    answers = [start(*patches(3)) for _ in range(2 * openvino_network._MOST_WAITING)]
    for answer in answers:
        with pytest.raises(ZeroDivisionError):
            answer()


@pytest.fixture
def converted(monkeypatch):
    """Collects the networks that would have been converted."""
    networks = []
    monkeypatch.setattr(openvino_network, "convert", networks.append)
    monkeypatch.setattr(openvino_network, "write_ir", lambda model, folder: folder.mkdir())
    return networks


def test_converted_networks_are_kept_by_their_weights(segmenter, tmp_path, converted):
    torch.manual_seed(1)
    first = ir_of(segmenter, tmp_path)
    assert ir_of(segmenter, tmp_path) == first
    assert ir_of(PatchSegmenter("hrnet_w18_small", input_size=32), tmp_path) != first
    assert len(converted) == 2


def test_it_is_converted_and_run_whatever_device_and_precision_the_caller_has(segmenter, tmp_path):
    require(Backend.openvino)
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        predict = make_predict(segmenter, Backend.openvino, CPU, tmp_path)
    assert_agree(predict(*patches(2)), make_predict(segmenter, Backend.eager, CPU, tmp_path)(*patches(2)))


def test_a_network_that_another_process_converted_meanwhile_is_left_as_it_is(segmenter, exports, tmp_path):
    require(Backend.openvino)
    model = openvino_network.import_openvino().Core().read_model(str(ir_of(segmenter, exports)))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "network.xml").write_text("theirs")
    openvino_network.write_ir(model, tmp_path / "there")
    assert (tmp_path / "there" / "network.xml").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_openvino_sends_nothing_to_anyone():
    """Its package calls Google Analytics at import, from a module that must not be loaded."""
    require(Backend.openvino)
    script = (
        "import sys; from bpr.models.openvino_network import import_openvino; import_openvino(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "openvino.tools.ovc" in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.startswith("openvino_telemetry")]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("BPR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_the_cache_is_in_the_home_folder_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("BPR_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "bpr"


@pytest.mark.parametrize(
    ("device", "instances", "installed", "processor", "expected"),
    [
        ("cpu", 5000, "openvino", "", Backend.openvino),
        ("cpu", 5000, "openvino nncf", "bf16", Backend.openvino_bf16),  # never int8 by itself
        ("cpu", 5000, "openvino nncf", "", Backend.openvino),
        ("cpu", 5000, "nncf", "bf16", Backend.eager),
        ("cpu", 10, "openvino nncf", "bf16", Backend.eager),  # the conversion would take longer
        ("cuda", 5000, "openvino nncf", "bf16", Backend.eager),
    ],
)
def test_the_backend_is_chosen_for_device_processor_and_work(
    monkeypatch, device, instances, installed, processor, expected
):
    monkeypatch.setattr(backends, "find_spec", lambda package: package in installed.split() or None)
    monkeypatch.setattr(backends, "has_bfloat16", lambda: "bf16" in processor)
    assert choose_backend(torch.device(device), instances) is expected


@pytest.mark.parametrize(
    ("backend", "device", "installed", "message"),
    [
        (Backend.openvino, "cpu", False, r"backend=openvino needs openvino: pip install -e '\.\[openvino\]'"),
        (Backend.openvino, "cuda:1", True, "backend=openvino runs on the CPU alone, not on cuda:1; use backend=eager"),
        (Backend.openvino_bf16, "cpu", True, "backend=openvino_bf16 needs .* bfloat16 .*; use backend=openvino$"),
    ],
)
def test_what_cannot_run_here_names_the_remedy_before_anything_is_converted(
    segmenter, converted, tmp_path, monkeypatch, backend, device, installed, message
):
    monkeypatch.setattr(backends, "find_spec", lambda package: installed or None)
    monkeypatch.setattr(backends, "has_bfloat16", lambda: False)
    with pytest.raises(SettingError, match=message):
        make_predict(segmenter, backend, torch.device(device), tmp_path)
    assert converted == []


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
    with pytest.raises(
        SettingError, match="backend must be one of eager, compile, openvino, openvino_bf16, openvino_int8, got 'onyx'"
    ):
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


@pytest.mark.parametrize("backend", [Backend.eager, Backend.openvino])
@torch.inference_mode()
def test_backends_give_trust_beside_the_probability(backend, exports):
    require(backend)
    torch.manual_seed(1)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32, trust=True).eval()
    nn.init.normal_(segmenter.decode_head.conv_trust.weight)
    predict, given = make_predict(segmenter, backend, CPU, exports), patches(5)
    answers = predict(*given)
    assert answers.shape == (5, 2, 24, 24)
    torch.testing.assert_close(answers[:, 0], segmenter.foreground_probability(*given), rtol=0, atol=1e-4)
    assert answers[:, 1].std() > 0.1
    assert predict(given[0][:0], given[1][:0]).shape == (0, 2, 24, 24)
