import json
import shutil
import sys

import numpy as np
import pytest

from bpr import __main__ as bpr_command
from bpr import rle
from bpr.api.refiner import Refiner
from bpr.benchmark import stress
from bpr.benchmark.stress_scores import INPUTS
from bpr.formats.annotations import read_annotations


@pytest.fixture
def command(toy_coco, weights):
    given = ["--images", toy_coco.images, "--annotations", toy_coco.annotations, "--ckpt", weights]
    return [*map(str, given), "--device", "cpu"]


def centre(mask):
    return np.argwhere(mask).mean(axis=0) if mask.any() else np.full(2, np.inf)


@pytest.fixture
def perfect(monkeypatch, toy_coco):
    """A refiner that knows the truth, and the shapes of the stacks it was given."""
    truths = {}
    for image in read_annotations(toy_coco.annotations).images.values():
        truths.setdefault(image.size, [rle.decode(truth.rle) for truth in image.truths])
    seen = []

    def refine(pixels, masks):
        seen.append(masks.shape)
        known = truths[masks.shape[1:]]
        return np.stack([min(known, key=lambda true: np.hypot(*centre(true) - centre(mask))) for mask in masks])

    monkeypatch.setattr(Refiner, "from_pretrained", classmethod(lambda cls, *_, **__: refine))
    return seen


def change(toy_coco, work):
    content = json.loads(toy_coco.annotations.read_text())
    work(content["annotations"])
    toy_coco.annotations.write_text(json.dumps(content))


def test_the_command_measures_prints_writes_and_draws(command, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    outputs = ["--json", str(tmp_path / "s.json"), "--plot", str(tmp_path / "s.png")]
    assert bpr_command.main(["stress", *command, "--objects", "4", *outputs]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "s.json").read_text())
    assert [row["input"] for row in content["inputs"]] == list(INPUTS)
    assert all(row["objects"] == 4 for row in content["inputs"])
    assert (content["objects"], content["not_drawn"], content["rounds"]) == (4, 11, None)
    truth = content["inputs"][0]
    assert (truth["iou_before"], truth["false_foreground_before"]) == (1, 0)
    assert truth["iou_after"] < 1
    assert "4 of 15 objects" in printed
    assert "break-even: " in printed
    assert f" {100 * truth['iou_after']:.1f} |" in printed
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"


def test_a_refiner_that_knows_the_truth_gains_everywhere(command, perfect, tmp_path, capsys):
    assert stress.main([*command, "--json", str(tmp_path / "s.json")]) == 0
    content = json.loads((tmp_path / "s.json").read_text())
    for row in content["inputs"]:
        assert (row["iou_after"], row["worse"], row["spoilt"], row["false_foreground"]) == (1, 0, 0, 0), row["input"]
        assert (row["iou_before"] < 1) == (row["input"] != "truth")
    assert content["break_even"] == 1  # the truth itself cannot gain
    assert "below 100.0" in capsys.readouterr().out
    assert perfect == [(24, 120, 160), (24, 160, 120), (24, 90, 200), (24, 128, 128), (24, 100, 100)]


def test_a_choice_of_inputs_is_the_same_rows_and_several_files_are_tables_of_their_own(
    command, toy_coco, perfect, tmp_path, capsys
):
    assert stress.main([*command, "--json", str(tmp_path / "all.json")]) == 0
    capsys.readouterr()
    some = ["polygon", "simulated"]
    other = shutil.copy(toy_coco.annotations, tmp_path / "other.json")
    command[3:4] = [command[3], str(other)]
    assert stress.main([*command, "--inputs", *some, "--json", str(tmp_path / "some.json")]) == 0
    rows = [row for row in json.loads((tmp_path / "all.json").read_text())["inputs"] if row["input"] in some]
    contents = json.loads((tmp_path / "some.json").read_text())
    assert [content["inputs"] for content in contents] == [rows, rows]
    assert [content["annotations"] for content in contents] == [command[3], command[4]]
    printed = capsys.readouterr().out
    assert printed.count(f"{other}\n") == printed.count(f"{toy_coco.annotations}\n") == 1
    assert printed.count("| polygon ") == 2
    assert "truth  " not in printed
    assert stress.main([*command, "--plot", str(tmp_path / "p.png")]) == 2
    assert "--plot draws one file, got 2 of --annotations" in capsys.readouterr().err


def test_large_stacks_are_split_and_say_the_same(command, perfect, tmp_path, monkeypatch):
    assert stress.main([*command, "--json", str(tmp_path / "one.json")]) == 0
    monkeypatch.setattr(stress, "_MOST_PIXELS", 1)
    del perfect[:]
    assert stress.main([*command, "--json", str(tmp_path / "split.json")]) == 0
    assert {shape[0] for shape in perfect} == {len(INPUTS)}
    assert (tmp_path / "one.json").read_text() == (tmp_path / "split.json").read_text()


def test_the_seed_decides_all_chance(command, perfect, tmp_path):
    written = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        options = ["--objects", "5", "--seed", seed, "--json", str(tmp_path / name)]
        assert stress.main([*command, *options]) == 0
        written.append(json.loads((tmp_path / name).read_text())["inputs"])
    assert written[0] == written[1] != written[2]


def test_what_is_simulated_for_an_object_does_not_depend_on_the_draw(toy_coco):
    annotations = read_annotations(toy_coco.annotations)
    found = []
    for most in (3, 100):
        choice = stress.choose_objects(toy_coco.images, annotations, most, 0)
        made = {}
        for image in choice.images:
            for place, (_, inputs) in zip(image.objects.values(), stress.inputs_of(image, 0), strict=True):
                made[place] = inputs["simulated"]
        found.append(made)
    few, all_of_them = found
    assert len(few) == 3
    assert len(all_of_them) == 15
    for place, mask in few.items():
        np.testing.assert_array_equal(mask, all_of_them[place])


def test_crowds_empty_and_thin_objects_are_left_out_and_counted(command, perfect, toy_coco, tmp_path, capsys):
    thin = np.zeros((120, 160), np.bool_)
    thin[5:8, 5:9] = True

    def spoil(annotations):
        annotations[0]["iscrowd"] = 1
        annotations[1]["segmentation"] = rle.encode(np.zeros((120, 160), np.bool_))
        annotations[2]["segmentation"] = rle.encode(thin)

    change(toy_coco, spoil)
    assert stress.main([*command, "--json", str(tmp_path / "s.json")]) == 0
    content = json.loads((tmp_path / "s.json").read_text())
    assert (content["crowds_left_out"], content["empty_left_out"], content["objects"]) == (1, 1, 13)
    counted = {row["input"]: (row["objects"], row["left_out"]) for row in content["inputs"]}
    assert counted.pop("eroded 2 px") == (12, 1)
    assert set(counted.values()) == {(13, 0)}
    printed = capsys.readouterr().out
    assert "left out: 1 crowd region, 1 object without a pixel" in printed
    assert "eroded 2 px: 1 object left out" in printed


def test_wrong_files_and_settings_end_in_one_line(command, toy_coco, tmp_path, capsys):
    def problem(*more):
        assert stress.main([*command, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "is the input" in problem("--json", str(toy_coco.annotations))
    assert "is the input" in problem("--json", str(next(toy_coco.images.iterdir())))
    assert "nowhere: no such file" in problem("--ckpt", "nowhere")
    next(toy_coco.images.iterdir()).unlink()
    assert "is missing" in problem()
    change(toy_coco, list.clear)
    line = problem()
    assert str(toy_coco.annotations) in line
    assert "ground truth" in line
    for setting, least in (("--objects", 1), ("--threads", 1), ("--seed", 0)):
        with pytest.raises(SystemExit):
            stress.main([*command, setting, str(least - 1)])
        assert f"must be at least {least}" in capsys.readouterr().err


def test_a_plot_that_cannot_be_drawn_is_refused_before_any_work(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Refiner, "from_pretrained", classmethod(lambda *_, **__: pytest.fail("too late")))
    pytest.importorskip("matplotlib")
    assert stress.main([*command, "--plot", str(tmp_path / "p.doc")]) == 2
    assert "png" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert stress.main([*command, "--plot", str(tmp_path / "p.png")]) == 2
    assert "pip install -e '.[plots]'" in capsys.readouterr().err
