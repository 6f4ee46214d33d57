"""Weights with their patches go to a folder or the hub, and come back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from bpr import PatchSpec, Refiner
from bpr.api import hub
from bpr.api.hub import is_hub_name
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError
from bpr.structures import Placement, Round

PATCH = PatchSpec(48, placement=Placement.cover, margin=8)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32).eval()
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    return segmenter


@pytest.fixture
def refiner(segmenter):
    return Refiner(segmenter, PATCH, "cpu", patches_per_forward=7, threads=torch.get_num_threads())


@pytest.fixture
def saved(refiner, tmp_path):
    """A folder of ``save_pretrained``."""
    refiner.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def stored(monkeypatch, saved):
    """Stands in for a hub that stores the saved folder as ``org/my.model-1.0``; collects the client's options."""
    asked = []

    def download(name, file, **client):
        asked.append(client)
        if name != "org/my.model-1.0":
            raise LocalEntryNotFoundError("not in the cache,\nand the hub is unreachable")
        return str(saved / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


class Uploads:
    """Stands in for the hub's client: what repositories hold before and after."""

    def __init__(self, present=()):
        self.present, self.files, self.options = present, {}, {}

    def __call__(self, token):
        self.token = token
        return self

    def create_repo(self, name, private, exist_ok):
        self.name, self.private = name, private
        return self

    @property
    def repo_id(self):
        return self.name

    def file_exists(self, repository, file, revision):
        return file in self.present

    def upload_folder(self, repo_id, folder_path, **options):
        self.files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        self.options = options
        return f"https://hub/{repo_id}/commit/1"


def test_weights_go_to_a_folder_and_back(refiner, saved):
    again = Refiner.from_pretrained(saved, device="cpu")
    scene = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8), np.tri(60, dtype=bool)[None]
    assert np.array_equal(again(*scene), refiner(*scene))


def test_the_patches_are_saved_with_the_weights(saved):
    assert Refiner.from_pretrained(saved, device="cpu").patch == PATCH


def test_the_placement_comes_back_as_what_it_was(saved):
    assert Refiner.from_pretrained(saved, device="cpu").patch.placement is Placement.cover


def test_default_patches_are_saved_too(segmenter, tmp_path):
    Refiner(segmenter, device="cpu").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["patch"]["size"] == 64


def test_numbers_of_numpy_are_saved_as_numbers(segmenter, tmp_path):
    Refiner(segmenter, patch=PatchSpec(np.int64(32)), device="cpu", flip=np.True_).save_pretrained(tmp_path)
    assert Refiner.from_pretrained(tmp_path, device="cpu").patch == PatchSpec(32)


def test_patches_that_are_given_win_over_those_that_were_saved(saved):
    assert Refiner.from_pretrained(saved, patch=PatchSpec(32), device="cpu").patch == PatchSpec(32)


def test_options_of_the_machine_are_not_saved(saved):
    assert json.loads((saved / "config.json").read_text()).keys() == {"patch", "rounds", "flip"}


def test_the_method_is_saved_too(segmenter, tmp_path):
    Refiner(segmenter, device="cpu", rounds=["object"], flip=True).save_pretrained(tmp_path)
    again = Refiner.from_pretrained(tmp_path, device="cpu")
    assert (again._method.rounds, again._method.flip) == ((Round.object,), True)
    given = Refiner.from_pretrained(tmp_path, device="cpu", rounds="boundary", flip=False)
    assert (given._method.rounds, given._method.flip) == ((Round.boundary,), False)


def test_what_was_made_without_trust_comes_back_with_its_rounds(tmp_path):
    made = Refiner.from_pretrained(trust=False, device="cpu")
    made.save_pretrained(tmp_path)
    for trust in (True, False):
        assert Refiner.from_pretrained(tmp_path, trust=trust, device="cpu")._method == made._method
    assert len(made._method.rounds) == 3


def test_a_folder_of_an_earlier_version_has_the_rounds_of_its_weights(saved):
    (saved / "config.json").write_text('{"patch": {"size": 48}}')
    assert Refiner.from_pretrained(saved, device="cpu")._method.rounds == (Round.boundary,)


@pytest.mark.parametrize(
    "text", ['{"patch": {"side": 48}}', '{"patch": {"size": 47}}', '{"patch": 1}', "{}", "{", "[]"]
)
def test_patches_that_cannot_be_understood_name_file_and_remedy(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: 'patch' must have fields .*give patch=PatchSpec"):
        Refiner.from_pretrained(saved, device="cpu")


@pytest.mark.parametrize("text", ["[]", '{"patch": {}, "rounds": ["objekt"]}'])
def test_a_method_that_cannot_be_understood_names_the_file_also_where_patches_are_given(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: .*mend the file"):
        Refiner.from_pretrained(saved, patch=PATCH, device="cpu")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_without_one_of_the_files_is_named_with_it(saved, file):
    (saved / file).unlink()
    with pytest.raises(CheckpointError, match=f"saved: no {file} in it"):
        Refiner.from_pretrained(saved, device="cpu")


def test_the_model_card_names_the_licence_and_the_paper(saved):
    card = (saved / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "- Paper: https://arxiv.org/abs/2104.05239" in card


def test_a_model_card_of_the_user_is_kept_when_weights_are_saved_again(refiner, saved):
    (saved / "README.md").write_text("mine")
    refiner.save_pretrained(saved)
    assert (saved / "README.md").read_text() == "mine"


def test_an_interrupted_save_can_be_repeated(refiner, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(hub, "save_segmenter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            refiner.save_pretrained(tmp_path)
    refiner.save_pretrained(tmp_path)
    assert Refiner.from_pretrained(tmp_path, device="cpu").patch == refiner.patch


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_another_model_in_the_folder_is_left_alone(refiner, tmp_path, file):
    (tmp_path / file).write_text('{"model_type": "bert"}')
    with pytest.raises(FileExistsError, match="holds another model"):
        refiner.save_pretrained(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['{"model_type": "bert"}']


@pytest.mark.parametrize("name", ["org/name", "org/my.model-1.0", "my.org/model_v2.5"])
def test_names_of_the_hub_may_have_dots(name):
    assert is_hub_name(name)


@pytest.mark.parametrize(
    "name", ["hrnet18s", "outputs/last.ckpt", "a/b.pth", "a/b.safetensors", "./name", "/name", "a/b/c", "org/a name"]
)
def test_names_of_files_are_not_taken_for_those_of_the_hub(name):
    assert not is_hub_name(name)


def test_what_is_here_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "my.model-1.0").touch()
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name("org/my.model-1.0")


def test_weights_come_from_the_hub_with_their_patches(stored):
    assert Refiner.from_pretrained("org/my.model-1.0", device="cpu").patch == PATCH


def test_options_of_the_hubs_client_reach_it(stored):
    Refiner.from_pretrained("org/my.model-1.0", device="cpu", revision="v1", local_files_only=True)
    assert stored == [{"revision": "v1", "local_files_only": True}] * 2


def test_a_hub_that_is_unreachable_is_named_in_one_line(stored):
    with pytest.raises(
        CheckpointError, match=r"^nobody/nothing-1\.0: .*could not be downloaded from the hub"
    ) as caught:
        Refiner.from_pretrained("nobody/nothing-1.0")
    assert "\n" not in str(caught.value)


def test_what_is_neither_here_nor_in_the_hubs_cache_is_named():
    with pytest.raises(CheckpointError, match=r"nobody/nothing\.v1: .*could not be downloaded from the hub"):
        Refiner.from_pretrained("nobody/nothing.v1", local_files_only=True)


def test_a_name_without_organisation_is_no_name_of_the_hub():
    with pytest.raises(CheckpointError, match="nothing: no such file"):
        Refiner.from_pretrained("nothing")


def test_what_is_pushed_is_what_is_saved(refiner, saved, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", uploads := Uploads())
    assert refiner.push_to_hub("org/my.model-1.0") == "https://hub/org/my.model-1.0/commit/1"
    assert uploads.files == {path.name: path.read_bytes() for path in saved.iterdir()}


def test_options_of_a_push_reach_the_hub(refiner, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", uploads := Uploads())
    refiner.push_to_hub("org/name", private=True, token="secret", commit_message="First", revision="v1")
    assert (uploads.name, uploads.private, uploads.token) == ("org/name", True, "secret")
    assert uploads.options == {"commit_message": "First", "revision": "v1"}


def test_a_model_card_on_the_hub_is_kept(refiner, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", uploads := Uploads(present=["README.md"]))
    refiner.push_to_hub("org/name")
    assert uploads.files.keys() == {"config.json", "model.safetensors"}
