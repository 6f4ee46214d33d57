"""``python -m bpr.evaluation``."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bpr
from bpr.evaluation import evaluate, format_table
from bpr.evaluation.__main__ import main


def test_it_prints_the_table(make_files: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    files = make_files()

    assert main([str(files.results), str(files.annotations), "--against", str(files.results)]) == 0
    printed = capfd.readouterr()
    expected = format_table(evaluate(files.results, files.annotations, against=files.results))
    assert (printed.out, printed.err) == (expected + "\n", "")


def test_the_dilation_ratio_changes_boundary_ap_alone(make_files: Callable[..., Any], tmp_path: Path) -> None:
    files, found = make_files(), []
    for ratio in ("0.02", "0.005"):
        main([str(files.results), str(files.annotations), "--dilation-ratio", ratio, "--json", str(tmp_path / ratio)])
        found.append(json.loads((tmp_path / ratio).read_text())["scores"])

    assert found[0]["mask"] == found[1]["mask"]
    assert found[0]["boundary"]["ap"] > found[1]["boundary"]["ap"]


def test_it_writes_json_and_nothing_else(make_files: Callable[..., Any], tmp_path: Path) -> None:
    files, out = make_files(), tmp_path / "new" / "report.json"

    assert main([str(files.results), str(files.annotations), "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == evaluate(files.results, files.annotations).as_dict()
    assert list(out.parent.iterdir()) == [out]


def test_it_runs_as_a_module_from_any_directory(make_files: Callable[..., Any], tmp_path: Path) -> None:
    files = make_files(images=2)
    environment = {**os.environ, "PYTHONPATH": str(Path(bpr.__file__).parents[1])}
    command = [sys.executable, "-m", "bpr.evaluation", files.results.name, str(files.annotations)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("| ")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.results.unlink(), "coarse.json: cannot be read"),
        (lambda f: f.results.write_text("[{"), "coarse.json: is not JSON"),
        (lambda f: f.results.write_text("{}"), "taken are COCO results"),
        (lambda f: f.annotations.write_text("[]"), "instances.json: expected a COCO annotation file"),
        (lambda f: f.change_results(lambda e: e[3].pop("image_id")), "coarse.json, entry 3: 'image_id' is missing"),
        (lambda f: f.change_results(lambda e: e[2].update(image_id=999)), "entry 2: image_id 999 is not among"),
        (lambda f: f.change_annotations(lambda c: c["annotations"].clear()), "no object is annotated"),
    ],
)
def test_bad_files_end_in_one_line(
    make_files: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Any], None],
    message: str,
) -> None:
    files = make_files()
    spoil(files)

    assert main([str(files.results), str(files.annotations)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_json_that_cannot_be_written_ends_in_one_line(
    make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_files()

    assert main([str(files.results), str(files.annotations), "--json", str(files.results / "out.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("ratio", ["0", "1", "x", "nan"])
def test_a_dilation_ratio_outside_its_range_is_refused(ratio: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["results.json", "instances.json", "--dilation-ratio", ratio])

    assert stopped.value.code == 2
    assert "--dilation-ratio" in capsys.readouterr().err


def test_it_does_not_write_over_what_it_reads(
    make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_files()
    for path in (files.results, files.annotations):
        before = path.read_bytes()
        assert main([str(files.results), str(files.annotations), "--json", str(path)]) == 2
        assert "is the input" in capsys.readouterr().err
        assert path.read_bytes() == before


def test_the_masks_of_panoptic_predictions_are_not_written_over(
    tmp_path: Path, make_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    panoptic, masks = tmp_path / "p.json", tmp_path / "p"
    panoptic.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    masks.mkdir()
    (masks / "a.png").write_bytes(b"a mask")
    assert main([str(panoptic), str(make_files().annotations), "--json", str(masks / "a.png")]) == 2
    assert "is the input" in capsys.readouterr().err
    assert (masks / "a.png").read_bytes() == b"a mask"


def test_what_is_assumed_of_results_without_scores_is_said(
    make_files: Callable[..., Any], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_files()
    files.change_results(lambda entries: [entry.pop("score") for entry in entries[:2]])
    assert main([str(files.results), str(files.annotations)]) == 0
    assert "coarse.json: 2 predictions have no score: taken as 1" in caplog.text
