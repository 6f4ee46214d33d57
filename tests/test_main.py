import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bpr import __main__ as command

ROOT = Path(__file__).parents[1]


def bpr(folder, *arguments, check=True, package=ROOT / "src"):
    run = [sys.executable, "-c", "import sys; from bpr.__main__ import main; sys.exit(main())", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(package)}
    done = subprocess.run(run, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_without_a_command_all_are_listed(tmp_path, capsys):
    assert command.main([]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ")] == list(command.COMMANDS)


def test_an_unknown_command_is_an_error_that_lists_the_known_ones(capsys):
    assert command.main(["refien"]) == 2
    error = capsys.readouterr().err
    assert "refien" in error
    assert "refine" in error


def test_the_version_is_that_of_the_distribution(capsys):
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bpr 0.")


def test_refine_refines_as_the_script_does(toy_coco, tmp_path, weights, refine):
    given = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"ckpt={weights}"]
    given += ["patch.size=32", "threads=1"]
    given += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.enable_progress_bar=false"]
    bpr(tmp_path, "refine", *given, "output=command.json", "hydra.run.dir=command")
    refine(*given, f"output={tmp_path / 'script.json'}")
    assert (tmp_path / "command.json").read_bytes() == (tmp_path / "script.json").read_bytes()


def test_a_run_on_two_processes_starts_the_script_again(toy_coco, tmp_path, weights):
    given = [f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"ckpt={weights}"]
    given += ["patch.size=32", "threads=1"]
    given += ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    bpr(tmp_path, "refine", *given, f"output={tmp_path / 'refined.json'}", f"hydra.run.dir={tmp_path / 'run'}")
    assert (tmp_path / "refined.json").is_file()


def test_train_takes_overrides_and_its_errors_end_in_its_status(tmp_path):
    assert "max_steps: 7" in bpr(tmp_path, "train", "trainer.max_steps=7", "--cfg", "job").stdout
    done = bpr(tmp_path, "train", "trainer.max_stepz=7", check=False)
    assert done.returncode == 1
    assert "max_stepz" in done.stderr


def test_evaluate_scores_and_ends_in_its_status(toy_coco, tmp_path, capsys):
    assert command.main(["evaluate", str(toy_coco.predictions), str(toy_coco.annotations)]) == 0
    assert "Boundary AP" in capsys.readouterr().out
    assert bpr(tmp_path, "evaluate", "absent.json", str(toy_coco.annotations), check=False).returncode == 2


@pytest.mark.parametrize("name", ["refine.py", "train.py"])
def test_scripts_are_found_beside_the_package_of_a_checkout_and_inside_that_of_a_wheel(name, tmp_path, monkeypatch):
    assert command.script_path(name) == ROOT / name
    package = tmp_path / "site-packages" / "bpr"
    monkeypatch.setattr(command, "__file__", str(package / "__main__.py"))
    with pytest.raises(FileNotFoundError, match="pip install"):
        command.script_path(name)
    (package / "_scripts" / "conf").mkdir(parents=True)
    (package / "_scripts" / name).touch()
    assert command.script_path(name) == package / "_scripts" / name


def test_the_commands_work_from_a_built_wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    done = bpr(tmp_path, "train", "experiment=hrnet48_256", "--info", "config", package=tmp_path / "installed")
    assert f"file://{tmp_path}/installed/bpr/_scripts/conf" in done.stdout


def test_the_package_runs_as_a_module_too(tmp_path):
    done = subprocess.run([sys.executable, "-m", "bpr"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "usage: bpr" in done.stdout
