"""int8: what it is calibrated with, where it is kept, and that its masks are nearly the same."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from bpr.data.inputs import read_input
from bpr.models import backends, quantisation
from bpr.models.backends import make_start
from bpr.models.calibration import patches_of
from bpr.models.export import main
from bpr.models.quantisation import calibrate, compare, int8_folder, int8_ir_of
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter
from bpr.patches.cutting import Crops
from bpr.structures import Backend, SettingError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32).eval()
    nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    nn.init.normal_(segmenter.backbone.conv1.mask.weight, std=0.1)
    return segmenter


def patches(seed=0):
    rng = np.random.default_rng(seed)
    return [
        Crops(rng.integers(0, 256, (4, side, side, 3), np.uint8), rng.random((4, side, side)) > 0.5)
        for side in (24, 32)
    ]


@pytest.fixture
def quantised(monkeypatch):
    """Collects what networks would have been calibrated with."""
    calibrations = []

    def write(model, folder):
        folder.mkdir(parents=True)

    def quantise(network, patches, kept):
        calibrations.append(patches)

    monkeypatch.setattr(quantisation, "find_spec", lambda package: True)
    monkeypatch.setattr(quantisation, "ir_of", lambda segmenter, cache: cache / "float32.xml")
    monkeypatch.setattr(quantisation, "quantise", quantise)
    monkeypatch.setattr(quantisation, "write_ir", write)
    return calibrations


def test_quantised_networks_are_kept_by_weights_patches_and_what_stays_in_float32(segmenter, tmp_path, quantised):
    first = calibrate(segmenter, patches(), tmp_path)
    assert calibrate(segmenter, patches(), tmp_path) == first
    assert len(quantised) == 1
    others = [
        calibrate(segmenter, patches(1), tmp_path),
        calibrate(segmenter, patches(), tmp_path, ["other"]),
        calibrate(PatchSegmenter("hrnet_w18_small", input_size=32), patches(), tmp_path),
    ]
    assert len({first, *others}) == 4


def test_the_network_that_was_calibrated_last_is_the_one_that_is_run(segmenter, tmp_path, quantised):
    first, second = (calibrate(segmenter, patches(seed), tmp_path) for seed in (0, 1))
    assert int8_ir_of(segmenter, tmp_path) == second
    calibrate(segmenter, patches(0), tmp_path)
    assert int8_ir_of(segmenter, tmp_path) == first


def test_without_a_calibration_it_is_the_demo_s_and_said_once(segmenter, tmp_path, quantised, monkeypatch, caplog):
    monkeypatch.setattr("bpr.models.calibration.demo_patches", lambda segmenter: (patches(), []))
    assert int8_ir_of(segmenter, tmp_path) == int8_ir_of(segmenter, tmp_path)
    assert len(quantised) == 1
    assert [record.message for record in caplog.records] == [
        "quantising the network for backend=openvino_int8, once: about a minute"
    ]


def test_without_nncf_the_remedy_is_named(segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "find_spec", lambda package: None)
    monkeypatch.setattr(backends, "find_spec", lambda package: True)
    with pytest.raises(SettingError, match=r"^backend=openvino_int8 needs nncf: pip install -e '\.\[openvino-int8\]'$"):
        make_start(segmenter, Backend.openvino_int8, CPU, tmp_path)


def test_what_is_quantised_needs_no_nncf(segmenter, tmp_path, quantised, monkeypatch):
    made = calibrate(segmenter, patches(), tmp_path)
    monkeypatch.setattr(quantisation, "find_spec", lambda package: None)
    assert int8_folder(segmenter, tmp_path) == made.parent


def test_patches_to_check_with_are_of_other_images(toy_coco, monkeypatch):
    records = list(read_input(toy_coco.images, toy_coco.predictions).records)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32, trust=True)
    monkeypatch.setattr("bpr.models.calibration.PATCHES", 5)
    both = [{crop.tobytes() for crops in part for crop in crops.images} for part in patches_of(segmenter, records)]
    assert 0 < len(both[0]) <= 10
    assert not both[0] & both[1]
    assert {crops.masks.shape[1] for crops in patches_of(segmenter, records)[0]} == {32, 64}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.onnx", "--int8"], "give OUTPUT the suffix .xml, not x.onnx"),
        (["x.onnx", "--predictions", "p.json"], "go with --int8"),
        (["x.xml", "--int8", "--calibrate", "images"], "--calibrate images needs --predictions FILE"),
        (["x.xml", "--int8"], "--int8 needs nncf: pip install -e '.[openvino-int8]'"),
    ],
)
def test_exports_that_cannot_be_are_refused_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quantisation, "find_spec", lambda package: None)
    assert main(["hrnet18s", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


@torch.inference_mode()
def test_an_export_is_run_from_then_on_and_gives_nearly_the_same_masks(
    segmenter, toy_coco, tmp_path, monkeypatch, capsys
):
    if not (find_spec("openvino") and find_spec("nncf")):
        pytest.skip("the extra openvino-int8 is not installed")
    monkeypatch.setenv("BPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bpr.models.calibration.PATCHES", 5)
    save_segmenter(segmenter, tmp_path / "w.safetensors")
    command = [str(tmp_path / "w.safetensors"), str(tmp_path / "w.xml"), "--int8"]
    command += ["--calibrate", str(toy_coco.images), "--predictions", str(toy_coco.predictions)]
    assert main(command) == 0
    assert "pixels equal to float32's in patches of other images: " in capsys.readouterr().out
    made = int8_ir_of(segmenter, backends.openvino_cache())
    for suffix in (".xml", ".bin"):
        assert (tmp_path / "w").with_suffix(suffix).read_bytes() == made.with_suffix(suffix).read_bytes()
    assert main(command) == 2  # not without --overwrite
    given = torch.from_numpy(patches()[0].images).permute(0, 3, 1, 2), torch.from_numpy(patches()[0].masks)
    found = make_start(segmenter, Backend.openvino_int8, CPU)(*given)()
    expected = segmenter.foreground_probability(*given)
    assert 0 < (found - expected).abs().mean() < 0.05
    assert ((found > 0.5) == (expected > 0.5)).float().mean() > 0.95
    assert "100.00 %" in compare(made, made, patches())
