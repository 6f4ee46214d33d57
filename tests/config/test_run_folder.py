import pytest

from bpr.config.run_folder import check_run_folder, without_run_folder
from bpr.structures import SettingError


def test_where_no_folder_for_the_run_can_be_made_one_line_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "outputs").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BPR_OUTPUTS", raising=False)
    with pytest.raises(SettingError, match=r"outputs/train: no folder for the run can be made \(Not a directory\)"):
        check_run_folder(["images=a"], "train")
    for elsewhere in ("hydra.run.dir=.", "++hydra.sweep.dir=x", "--help", "paths.outputs='new (1)'"):
        check_run_folder([elsewhere], "train")
    monkeypatch.setenv("BPR_OUTPUTS", "new/two")
    check_run_folder([], "train")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


NO_FOLDER = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["output=a.json", "--cfg", "job"], ["output=a.json", *NO_FOLDER, "--cfg", "job"]),
        (["+output=a.json"], ["+output=a.json", *NO_FOLDER]),
        (["output=a.json", *NO_FOLDER], ["output=a.json", *NO_FOLDER]),  # a process that Lightning starts beside
        (["output=null"], ["output=null"]),
        (["paths.outputs=a"], ["paths.outputs=a"]),
        (["output=a.json", "hydra.run.dir=b"], ["output=a.json", "hydra.run.dir=b"]),
        (["-m", "output=a.json,b.json"], ["-m", "output=a.json,b.json"]),
    ],
)
def test_the_folder_of_the_run_is_left_out_where_the_output_is_given(arguments, expected):
    assert without_run_folder(arguments) == expected


def test_hydra_takes_what_leaves_the_folder_out(composed):
    assert composed("refine", *without_run_folder(["output=a.json"])).output == "a.json"
