import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import ProcessException

from bpr import rle
from bpr.benchmark import measure, placement, training
from bpr.benchmark.__main__ import main
from bpr.benchmark.processes import speed_of_processes
from bpr.benchmark.workload import SceneSize, Workload, generate
from bpr.formats.coco import read_results
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter
from bpr.refine.inputs import read_input
from bpr.structures import Backend, Placement

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_segmenter(PatchSegmenter(input_size=32), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    """The bare network sees few patches in few sizes of batches."""
    monkeypatch.setattr(measure, "_PATCHES", 32)
    monkeypatch.setattr(measure, "BATCH_SIZES", (8, 16))


def test_the_figures_fit_together(toy_coco, tmp_path, weights, capsys):
    command = ["--images", toy_coco.images, "--predictions", toy_coco.predictions, "--ckpt", weights]
    command += ["--device", "cpu", "--rounds", "1", "--json", tmp_path / "b.json"]
    command += ["--processes", "2", "--against", "eager"]
    assert main([str(part) for part in command]) == 0
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["limit_patches_per_s"] > 0
    assert found["ratio"] == pytest.approx(found["refine_patches_per_s"] / found["limit_patches_per_s"])
    (workload,) = found["workloads"]
    assert (workload["images"], workload["instances"]) == (4, 12)
    assert workload["refine_patches_per_s"] == pytest.approx(found["refine_patches_per_s"])
    assert workload["batch_size"] in (8, 16)
    assert found["peak_memory_mb"]["main"] > 50
    assert found["batch_1"][0]["batch_size"] == 1
    printed = capsys.readouterr().out
    assert f"{workload['patches']} patches" in printed
    assert found["start_to_end_s"] > 0.5
    assert found["against"]["own_patches_per_s"].keys() == found["against"]["patches_per_s"].keys() == {"8", "16"}
    assert "network by eager and eager" in printed
    scaling = found["scaling"]
    assert scaling["ratio"] == pytest.approx(scaling["several_patches_per_s"] / scaling["one_patches_per_s"])
    assert "2 processes of one thread and one of them" in printed


def test_placements_are_scored_and_drawn(toy_coco, tmp_path, weights, monkeypatch, capsys):
    curves = {(Placement.nms, "nms_iou"): (0.25, 0.55), (Placement.cover, "margin"): (4,)}
    monkeypatch.setattr(placement, "CURVES", curves)
    command = ["--images", toy_coco.images, "--predictions", toy_coco.predictions, "--annotations"]
    command += [toy_coco.annotations, "--ckpt", weights, "--min-score", "0.75"]
    command += ["--json", tmp_path / "p.json", "--plot", tmp_path / "p.png"]
    pytest.importorskip("matplotlib")
    assert placement.main([str(part) for part in command]) == 0
    points = json.loads((tmp_path / "p.json").read_text())
    assert [(p["placement"], p["value"]) for p in points] == [("coarse", 0), ("nms", 0.25), ("nms", 0.55), ("cover", 4)]
    coarse, few, many, _ = points
    assert coarse["patches_per_image"] == 0
    assert 0 < few["patches_per_image"] < many["patches_per_image"]
    assert coarse["ap"] > 0
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["nms", "nms_iou=0.25"],
        ["nms", "nms_iou=0.55"],
        ["cover", "margin=4"],
    ]


def test_the_training_benchmark_counts_patches(toy_coco, capsys):
    command = ["--images", toy_coco.images, "--annotations", toy_coco.annotations, "--conf", CONF]
    command += ["--workers", "0", "--batches", "2", "--predictions", *[toy_coco.predictions] * 10]
    assert training.main([str(part) for part in command]) == 0
    printed = capsys.readouterr().out
    assert "patches of 120 instances" in printed
    assert "loader, augment=paper: 64 patches" in printed


def test_a_process_that_fails_ends_the_other_which_waits_for_it(toy_coco, weights):
    broken = read_input(toy_coco.images, toy_coco.predictions).records[1]
    whole = broken.path.read_bytes()
    broken.path.write_bytes(whole[: len(whole) // 2])  # the first image of the second process: its size is still there
    workload = Workload("toy", toy_coco.images, toy_coco.predictions)
    with pytest.raises(ProcessException, match=broken.path.name):
        speed_of_processes(workload, str(weights), Backend.eager, 8, 2)


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
