import json

import numpy as np
import pytest
from PIL import Image
from torch.multiprocessing.spawn import ProcessException

from bpr import rle
from bpr.benchmark import measure, presets
from bpr.benchmark.__main__ import main
from bpr.benchmark.classical import grab_cut, guided_filter
from bpr.benchmark.measure import speed_of_processes
from bpr.benchmark.workload import Workload, generate
from bpr.data.inputs import read_input
from bpr.formats.coco import read_results
from bpr.structures import Backend


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
    (workload,) = found["workloads"]
    assert workload["limit_patches_per_s"] > 0
    assert workload["ratio"] == pytest.approx(workload["refine_patches_per_s"] / workload["limit_patches_per_s"])
    assert (workload["images"], workload["instances"]) == (4, 12)
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


def test_placements_are_scored(toy_coco, tmp_path, weights, monkeypatch, capsys):
    names = ["nms_iou=0.25", "nms_iou=0.55", "margin=4"]
    monkeypatch.setattr(presets, "PLACEMENTS", {name: presets.PLACEMENTS[name] for name in names})
    annotations = json.loads(toy_coco.annotations.read_text())
    for image in annotations["images"]:  # to be found by their names alone
        (toy_coco.images / image["file_name"]).rename(toy_coco.images / f"photo_{image['file_name']}")
        image["file_name"] = f"photo_{image['file_name']}"
    toy_coco.annotations.write_text(json.dumps(annotations))
    command = ["--images", toy_coco.images, "--predictions", toy_coco.predictions, "--annotations"]
    command += [toy_coco.annotations, "--ckpt", weights, "--min-score", "0.75", "--placements"]
    assert presets.main([str(part) for part in command]) == 0
    coarse, *refined = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert (coarse[:2], float(coarse[3]) > 0) == (["coarse", "0.0"], True)
    assert [row[0] for row in refined] == names
    few, many, _ = (float(row[1]) for row in refined)
    assert 0 < few < many


def test_presets_are_compared_with_the_paper_and_with_refiners_without_a_network(toy_coco, tmp_path, weights, capsys):
    command = ["--images", toy_coco.images, "--predictions", toy_coco.predictions, "--annotations"]
    command += [toy_coco.annotations, "--ckpt", weights, "--plot", tmp_path / "presets.png"]
    assert presets.main([str(part) for part in command]) == 0
    rows = {line[:16].strip(): line[16:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(rows) == [
        "coarse", "guided filter", "GrabCut", "paper", "preset=fast", "preset=default", "preset=best"
    ]  # fmt: skip
    patches = {name: float(row[0]) for name, row in rows.items()}
    assert patches["coarse"] == patches["GrabCut"] == 0 < patches["preset=fast"]
    assert patches["preset=default"] <= patches["preset=best"]
    assert all(float(row[1]) > 0 for row in list(rows.values())[1:])
    with Image.open(tmp_path / "presets.png") as picture:
        assert picture.size[0] > 500


@pytest.mark.parametrize("refine", [grab_cut, guided_filter])
def test_refiners_without_a_network_find_a_clear_edge(refine):
    ys, xs = np.mgrid[:80, :90]
    true = (xs - 45) ** 2 + (ys - 40) ** 2 < 20**2
    rng = np.random.default_rng(0)
    image = np.where(true[..., None], (200, 60, 60), (40, 120, 60)) + rng.integers(-8, 9, (80, 90, 3))
    coarse = (xs - 47) ** 2 + (ys - 40) ** 2 < 21**2
    refined = refine(image.astype(np.uint8), coarse, (27, 20, 68, 61))
    assert (refined != true).sum() < 0.5 * (coarse != true).sum()


@pytest.mark.parametrize("refine", [grab_cut, guided_filter])
@pytest.mark.parametrize("mask", [np.ones((9, 9), bool), np.eye(9, dtype=bool)])
def test_refiners_without_a_network_leave_a_mask_with_pixels(refine, mask):
    assert refine(np.zeros((9, 9, 3), np.uint8), mask, (0, 0, 9, 9)).any()


def test_a_process_that_fails_ends_the_other_which_waits_for_it(toy_coco, weights):
    broken = read_input(toy_coco.images, toy_coco.predictions).records[1]
    whole = broken.path.read_bytes()
    broken.path.write_bytes(whole[: len(whole) // 2])  # the first image of the second process: its size is still there
    workload = Workload("toy", toy_coco.images, toy_coco.predictions)
    with pytest.raises(ProcessException, match=broken.path.name):
        speed_of_processes(workload, str(weights), Backend.eager, 8, 2)


def test_generated_workloads_are_what_they_say(tmp_path):
    workload = generate(tmp_path, (100, 200), 3, 2)
    entries = read_results(workload.predictions)
    assert [entry["image_id"] for entry in entries] == [0, 0, 0, 1, 1, 1]
    masks = [rle.decode(entry["segmentation"]) for entry in entries]
    assert all(mask.shape == (100, 200) and mask.any() for mask in masks)
    again = generate(tmp_path / "again", (100, 200), 3, 2)
    assert again.predictions.read_bytes() == workload.predictions.read_bytes()
    assert not np.array_equal(masks[0], masks[1])


def test_bad_input_ends_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--images", str(tmp_path)])
    assert main(["--ckpt", "nowhere"]) == 2
    assert "nowhere: no such file" in capsys.readouterr().err
