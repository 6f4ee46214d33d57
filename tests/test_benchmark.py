import json

import numpy as np
import pytest
import torch

from bpr import rle
from bpr.benchmark.__main__ import main
from bpr.benchmark.workload import SceneSize, generate
from bpr.formats.coco import read_results
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_segmenter(PatchSegmenter(input_size=32), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_the_figures_fit_together(toy_coco, tmp_path, weights, capsys):
    command = ["--images", toy_coco.images, "--predictions", toy_coco.predictions, "--ckpt", weights]
    command += ["--device", "cpu", "--rounds", "1", "--json", tmp_path / "b.json"]
    assert main([str(part) for part in command]) == 0
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["limit_patches_per_s"] > 0
    assert found["ratio"] == pytest.approx(found["refine_patches_per_s"] / found["limit_patches_per_s"])
    assert set(found["stages_s"]) == {"load", "propose", "read", "crop", "network", "paste", "encode", "write"}
    (workload,) = found["workloads"]
    assert (workload["images"], workload["instances"]) == (4, 12)
    assert workload["refine_patches_per_s"] == pytest.approx(found["refine_patches_per_s"])
    assert found["peak_rss_mb"] > 50
    assert found["batch_1"][0]["batch_size"] == 1
    assert f"{workload['patches']} patches" in capsys.readouterr().out


def test_generated_workloads_are_what_they_say(tmp_path):
    workload = generate(tmp_path, SceneSize((100, 200), 3, 2))
    entries = read_results(workload.predictions)
    assert [entry["image_id"] for entry in entries] == [0, 0, 0, 1, 1, 1]
    masks = [rle.decode(entry["segmentation"]) for entry in entries]
    assert all(mask.shape == (100, 200) and mask.any() for mask in masks)
    again = generate(tmp_path / "again", SceneSize((100, 200), 3, 2))
    assert again.predictions.read_bytes() == workload.predictions.read_bytes()
    assert not np.array_equal(masks[0], masks[1])


def test_bad_input_ends_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--images", str(tmp_path)])
    assert main(["--ckpt", "nowhere"]) == 2
    assert "nowhere: no such file" in capsys.readouterr().err
