import argparse
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from bpr.config.overrides import prepared, texts_as_help
from bpr.config.schemas import RefineConf, TrainConf, refine_values
from bpr.structures import SettingError

CONF = Path(__file__).parents[2] / "conf"
FILES = {RefineConf: CONF / "refine.yaml", TrainConf: CONF / "train.yaml"}


def test_a_recipe_can_be_left_out_on_the_command_line(composed):
    assert prepared(["experiment=null", "seed=1", "debug=null"], TrainConf) == ["~experiment", "seed=1", "~debug"]
    cfg = composed("train", *prepared(["experiment=null"], TrainConf))
    assert cfg.trainer.max_steps == 160000
    assert cfg.optim.optimizer._target_ == "torch.optim.SGD"


NAMES = [
    "dir (1), ä=b",
    "a,b",
    "[x]",
    "it's",
    'a"b',
    "a#b",
    "{a}",
    "日本",
    "1e3",
    "2017",
    "true",
    "a\\",
    " a ",
    "a b",
    "a&b",
]


@pytest.mark.parametrize("name", NAMES)
def test_paths_of_any_characters_arrive_as_they_are(composed, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    inside = str(tmp_path / name / "masks.json")
    given = prepared([f"images={name}", f"predictions={inside}", f"output={name}.json", "seed=1"][:3], RefineConf)
    cfg = composed("refine", *given)
    assert (cfg.images, cfg.predictions, cfg.output) == (name, inside, f"{name}.json")
    assert prepared(given, RefineConf) == given  # as Lightning hands them to further processes


def test_a_new_output_in_a_folder_whose_name_looks_like_an_interpolation_is_taken_as_it_is(composed, tmp_path):
    (tmp_path / "$x${y}").mkdir()
    new = str(tmp_path / "$x${y}" / "o.json")
    assert composed("refine", *prepared([f"output={new}"], RefineConf)).output == new


@pytest.mark.parametrize(
    "given",
    [
        "images=null",
        "images='a b'",
        "ckpt=${oc.env:HOME}",
        "rounds=[boundary]",
        "data.train.0.predictions=[a.json,b.json]",
        "hydra.run.dir=${paths.outputs}/${now:%Y}",
        "+patch.new=(1)",
        "--cfg",
    ],
)
def test_other_arguments_are_left_to_hydra(given):
    assert prepared([given], TrainConf if given.startswith("data") else RefineConf) == [given]


def test_sweeps_over_paths_stay_sweeps_unless_there_is_such_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["-m", "ckpt=a.ckpt,b.ckpt"]
    assert prepared(given, RefineConf) == given
    Path("a.ckpt,b.ckpt").touch()
    assert prepared(given, RefineConf) == ["-m", "ckpt='a.ckpt,b.ckpt'"]


@pytest.mark.parametrize(
    ("schema", "argument", "message"),
    [
        (RefineConf, "prediction=a.json", r"^prediction is not a setting: did you mean predictions\?$"),
        (RefineConf, "patch.sise=3", r"^patch\.sise is not a setting: did you mean patch\.size\?$"),
        (RefineConf, "xyz=3", "^xyz is not a setting: --cfg job prints all$"),
        (TrainConf, "data.batchsize=3", r"did you mean data\.batch_size\?$"),
        (TrainConf, "data.simulation.spil=3", r"did you mean data\.simulation\."),
    ],
)
def test_misspelt_settings_name_their_nearest_neighbour_in_one_line(schema, argument, message):
    with pytest.raises(SettingError, match=message):
        prepared([argument], schema)


@pytest.mark.parametrize(
    ("schema", "argument", "message"),
    [
        (RefineConf, "trainer.device=1", r"^trainer\.device is not a setting: did you mean trainer\.devices\?"),
        (
            RefineConf,
            "trainer.xyz=1",
            r"^trainer\.xyz is not a setting: .*; \+trainer\.xyz=1 adds one that the config",
        ),
        (RefineConf, "+predictons=a", r"^predictons is not a setting: did you mean predictions\?$"),
        (RefineConf, "++predictons=a", r"^predictons is not a setting: did you mean predictions\?$"),
        (RefineConf, "--prediction=a", r"^--prediction=a is not taken: .* write predictions=VALUE$"),
        (TrainConf, "optim.lrr=1", r"^optim\.lrr is not a setting: did you mean optim\.optimizer\.lr\?"),
        (TrainConf, "optim.optimizer.weight_decy=1", r"did you mean optim\.optimizer\.weight_decay\?"),
    ],
)
def test_so_do_those_of_groups_and_those_with_a_plus_or_dashes(schema, argument, message):
    with pytest.raises(SettingError, match=message):
        prepared([argument], schema, FILES[schema])


def test_null_is_taken_for_a_group_where_it_is_the_default_and_else_answered_with_what_there_is():
    assert prepared(["data=null", "threads=null"], RefineConf, FILES[RefineConf]) == ["threads=null"]
    assert prepared(["trainer.logger=null"], TrainConf, FILES[TrainConf]) == ["trainer.logger=null"]
    with pytest.raises(SettingError, match=r"^logger must be one of csv, wandb, got null$"):
        prepared(["logger=null"], TrainConf, FILES[TrainConf])
    with pytest.raises(SettingError, match=r"^data must be one of cityscapes, coco, demo, got null$"):
        prepared(["data=null"], TrainConf, FILES[TrainConf])


def test_null_is_answered_beside_a_folder_of_the_user_too():
    assert prepared(["--config-dir=x", "data=null"], RefineConf, FILES[RefineConf]) == ["--config-dir=x"]
    with pytest.raises(SettingError, match=r"^logger must be one of csv, wandb, got null$"):
        prepared(["-cd", "x", "logger=null"], TrainConf, FILES[TrainConf])


def test_null_beside_another_choice_or_for_a_configuration_of_the_user_is_left_to_hydra():
    for arguments in (["data=coco", "data=null"], ["--config-name=x", "logger=null"], ["-cp", "x", "data=null"]):
        schema = TrainConf if "logger=null" in arguments else RefineConf
        assert prepared(arguments, schema, FILES[schema]) == arguments


def test_empty_variables_are_no_folders(composed, monkeypatch):
    for name in ("BPR_CACHE", "BPR_DATA", "BPR_OUTPUTS"):
        monkeypatch.setenv(name, "")
    prepared([], TrainConf)
    assert composed("train").paths.outputs == "outputs"
    monkeypatch.undo()


@pytest.mark.parametrize(
    "argument",
    [
        "experiment=hrnet18s_128",
        "data=coco",
        "hydra.job.num=1",
        "model.net.pretrained=false",
        "paths.data=/x",
        "trainer.max_epochs=1",
        "+trainer.profiler=simple",
        "callbacks.ema.decay=0.9",
        "--multirun",
        "--config-dir=x",
    ],
)
def test_settings_and_groups_that_are_there_pass(argument):
    assert prepared([argument], TrainConf, FILES[TrainConf]) == [argument]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-dir=x", "optim.mine=1", "+mine=a"],
        ["-cp", "x", "optim.mine=1", "+predictons=a"],
        ["--config-path=x", "optim.mine=1"],
        ["+tag=x"],
        ["+trainer.profiler=simple", "trainer.profiler=advanced"],
        ["+callbacks.early={_target_: a, monitor: b}", "callbacks.early.monitor=c"],
        ["+logger@trainer.logger=csv", "trainer.logger.name=x"],
        ["seed.x=1"],
        ["ckpt.x=1"],
        ["data.val.x=1"],
        ["--res"],
        ["--fast"],
    ],
)
def test_what_may_be_of_the_user_is_left_to_hydra(arguments):
    assert prepared(arguments, TrainConf, FILES[TrainConf]) == arguments


def test_a_setting_that_was_added_to_a_refinement_is_passed_by(composed):
    values = refine_values(composed("refine", "+tag=x", "images=a", "predictions=b"))
    assert "tag" not in values
    assert values["images"] == "a"


@pytest.mark.parametrize(
    ("schema", "argument", "message"),
    [
        (
            RefineConf,
            "rounds=objects",
            "rounds must be a list in brackets, each one of boundary, object, or null, got objects",
        ),
        (RefineConf, "rounds=boundary", "rounds must be a list, rounds=[boundary], or null, got boundary"),
        (RefineConf, "rounds=[objects]", "rounds must be a list, each one of boundary, object, or null, got [objects]"),
        (RefineConf, "on_error=skip", "on_error must be one of stop, keep, got skip"),
        (RefineConf, "on_error=null", "on_error must be one of stop, keep, got null"),
        (RefineConf, "preset=null", "preset must be one of fast, default, best, got null"),
        (RefineConf, "flip=yes,no", "flip=yes,no are several values: give one, or add -m to have a run of each"),
        (RefineConf, "threads=two", "threads must be a whole number or null, got two"),
        (RefineConf, "threshold=low", "threshold must be a number, got low"),
        (RefineConf, "min_score=[0.3]", "min_score must be a number, got [0.3]"),
        (RefineConf, "trust=maybe", "trust must be true or false, got maybe"),
        (RefineConf, "patch.size=x", "patch.size must be a whole number, got x"),
        (TrainConf, "seed=x", "seed must be a whole number, got x"),
        (TrainConf, "data.coarse=x", "data.coarse must be one of cached, simulated, both, got x"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_line_that_says_what_is_allowed(schema, argument, message):
    with pytest.raises(SettingError) as error:
        prepared([argument], schema)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "argument",
    [
        "threads=null",
        "rounds=null",
        "report=yes",
        "trainer.devices=4",
        "patch=default",
        "threshold=1e-1",
    ],
)
def test_values_of_the_right_kind_pass(argument):
    assert prepared([argument], RefineConf) == [argument]


@pytest.mark.parametrize(
    "sweep", ["preset=fast,best", "threads=1,2", "patch.size=range(32,64,16)", "rounds=[object],[object,boundary]"]
)
def test_sweeps_pass_where_each_run_has_an_output_of_its_own(sweep):
    name = sweep.partition("=")[0]
    for given in (["-m", sweep], ["-m", sweep, "output=null"], ["-m", sweep, f"output=masks-${{{name}}}.json"]):
        assert prepared(given, RefineConf) == given
    with pytest.raises(SettingError, match=rf"each run of the sweep .* 'output=masks-\$\{{{name}\}}.json'"):
        prepared(["-m", sweep, "output=masks.json"], RefineConf)


def test_all_values_of_a_sweep_are_checked():
    with pytest.raises(SettingError, match="preset must be one of fast, default, best, got fast,bset"):
        prepared(["-m", "preset=fast,bset"], RefineConf)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["photos", "labels.json"], "photos is no setting: write its name before it, NAME=photos"),
        (["images=photos", "--output", "a.json"], "--output is not taken: settings have no dashes, write output=VALUE"),
        (["--on-error=keep"], "--on-error=keep is not taken: settings have no dashes, write on_error=VALUE"),
    ],
)
def test_settings_given_as_to_other_programs_are_explained(arguments, problem):
    with pytest.raises(SettingError, match=f"^{problem}$"):
        prepared(arguments, RefineConf)


def test_flags_of_hydra_and_their_values_are_left_to_it():
    arguments = ["--cfg", "job", "-m", "threads=1,2", "--config-dir", "more", "--help", "~seed"]
    assert prepared(arguments, RefineConf) == arguments


def test_all_help_of_hydra_is_text_as_python_3_14_needs_it():
    with texts_as_help():
        parser = get_args_parser()
    helps = {action.dest: action.help for action in parser._actions}
    assert all(isinstance(text, str) for text in helps.values() if text is not None)
    assert "bash" in helps["shell_completion"]
    assert argparse.ArgumentParser.add_argument.__module__ == "argparse"
