import json

import numpy as np
import pytest
import torch

from bpr import PatchSpec, Refiner
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError
from bpr.structures import Placement


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    segmenter = PatchSegmenter(input_size=32).eval()
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    return segmenter


@pytest.fixture
def saved(segmenter, tmp_path):
    """A folder of ``save_pretrained``."""
    patch = PatchSpec(48, placement=Placement.cover, margin=8)
    Refiner(segmenter, patch, "cpu", patches_per_forward=7, threads=torch.get_num_threads()).save_pretrained(tmp_path)
    return tmp_path


def test_weights_go_to_a_folder_of_the_hub_and_back(segmenter, tmp_path):
    refiner = Refiner(segmenter, PatchSpec(32), device="cpu")
    refiner.save_pretrained(tmp_path / "org_name")
    again = Refiner.from_pretrained(tmp_path / "org_name", device="cpu")
    scene = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8), np.tri(60, dtype=bool)[None]
    assert np.array_equal(again(*scene), refiner(*scene))


def test_options_that_an_older_client_passes_are_ignored(saved):
    assert Refiner._from_pretrained(model_id=str(saved), proxies=None, resume_download=None, device="cpu")


def test_the_patches_are_saved_with_the_weights(saved):
    assert Refiner.from_pretrained(saved, device="cpu").patch == PatchSpec(48, placement=Placement.cover, margin=8)


def test_the_placement_comes_back_as_what_it_was(saved):
    assert Refiner.from_pretrained(saved, device="cpu").patch.placement is Placement.cover


def test_default_patches_are_saved_too(segmenter, tmp_path):
    Refiner(segmenter, device="cpu").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["patch"]["size"] == 64


def test_patches_that_are_given_win_over_those_that_were_saved(saved):
    assert Refiner.from_pretrained(saved, patch=PatchSpec(32), device="cpu").patch == PatchSpec(32)


def test_options_of_the_machine_are_not_saved(saved):
    assert json.loads((saved / "config.json").read_text()).keys() == {"patch"}


def test_options_of_the_machine_in_an_older_config_are_ignored(saved):
    machine = {"device": "nowhere", "threads": 0, "backend": "none", "patches_per_forward": 0}
    (saved / "config.json").write_text(json.dumps({"patch": {"size": 48}, **machine}))
    assert Refiner.from_pretrained(saved, device="cpu").patch == PatchSpec(48)


@pytest.mark.parametrize("patch", [{"side": 48}, {"size": 47}, {"placement": "nowhere"}])
def test_patches_that_cannot_be_understood_name_the_remedy(saved, patch):
    (saved / "config.json").write_text(json.dumps({"patch": patch}))
    with pytest.raises(CheckpointError, match=r"'patch' in config\.json .*give patch=PatchSpec"):
        Refiner.from_pretrained(saved, device="cpu")


def test_the_model_card_names_the_licence_and_the_paper(saved):
    card = (saved / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "- Paper: https://arxiv.org/abs/2104.05239" in card


def test_what_is_neither_here_nor_on_the_hub_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"nobody/nothing: .*could not be had from the hub"):
        Refiner.from_pretrained("nobody/nothing", local_files_only=True)
    with pytest.raises(CheckpointError, match="nothing: no such file"):
        Refiner.from_pretrained("nothing")
