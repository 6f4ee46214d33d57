import pytest

from bpr.config.schemas import refine_values
from bpr.formats.errors import FormatError
from bpr.patches.presets import Preset
from bpr.refine.settings import RefineSettings
from bpr.structures import Backend, ExifUse, PatchSpec, Placement, Round, SettingError
from bpr.synthetic import demo


@pytest.fixture
def settings(composed, tmp_path):
    return lambda *overrides: RefineSettings.from_config(refine_values(composed(*overrides)), tmp_path / "run")


GIVEN = ("images=photos", "predictions=coarse.json")


def test_a_configuration_becomes_checked_values(settings, tmp_path):
    made = settings(*GIVEN, "patch.size=48", "backend=compile", "exif=apply", "threshold=0.4")
    assert (str(made.images), str(made.predictions), made.annotations) == ("photos", "coarse.json", None)
    assert (made.patch, made.backend, made.exif, made.threshold) == (
        PatchSpec(48), Backend.compile, ExifUse.apply, 0.4
    )  # fmt: skip
    assert made.folder == tmp_path / "run"
    assert not made.contact_sheet


def test_a_preset_says_what_is_not_given(settings):
    assert [settings(*GIVEN, f"preset={preset}").patch.margin for preset in Preset] == [None, None, 4]
    given = settings(*GIVEN, "preset=best", "patch.margin=2", "rounds=[boundary]")
    assert (given.patch.margin, given.rounds) == (2, (Round.boundary,))


@pytest.mark.parametrize("overrides", [["patch=nms"], ["patch.placement=nms"], ["patch.nms_iou=0.25"]])
def test_the_papers_placement_is_a_word_away(settings, overrides):
    made = settings(*GIVEN, *overrides).patch
    assert (made.placement, made.nms_iou) == (Placement.nms, 0.25)


@pytest.mark.parametrize("placement", Placement)
def test_each_placement_is_a_group(settings, placement):
    assert settings(*GIVEN, f"patch={placement}").patch.placement is placement


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("patch.size=7", "patch.size must be an even number"),
        ("threshold=2", r"threshold must be in \[0, 1\)"),
        ("polygon_tolerance=-1", "polygon_tolerance must be at least 0"),
        ("polygon_tolerance=inf", "polygon_tolerance must be at least 0"),
        ("min_score=-1", "min_score must be at least 0"),
        ("min_score=nan", "min_score must be at least 0"),
        ("dilation_ratio=5", "dilation_ratio must be in"),
        ("input_size=100", "input_size must be a positive multiple of 32"),
        ("patch.spacing=20", "patch.spacing goes with patch.placement=contour, got cover"),
        ("patches_per_forward=0", "patches_per_forward must be at least 1"),
        ("images_per_batch=0", "images_per_batch must be at least 1"),
        ("num_workers=-1", "num_workers must be at least 0"),
        ("threads=0", "threads must be at least 1"),
        ("annotations=", "annotations is empty; give a path, or leave it out"),
        ("output=", "output is empty"),
        ("output=/", "output=/ has no name"),
        ("report_min_score=30", r"report_min_score must be in \[0, 1\]"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(settings, override, message):
    with pytest.raises(SettingError, match=message):
        settings(*GIVEN, override)


def test_an_output_that_is_the_folder_one_is_in_gets_its_name(settings, tmp_path, monkeypatch):
    (tmp_path / "mine" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine" / "below")
    assert settings(*GIVEN, "output=.").output == tmp_path / "mine" / "below"
    assert settings(*GIVEN, "output=..").output == tmp_path / "mine"


def test_images_are_not_enough_but_predictions_are(settings):
    images, predictions = GIVEN
    with pytest.raises(FormatError, match="give both, images=DIR and predictions=FILE"):
        settings(images)
    assert settings(predictions).images is None


def test_a_data_set_without_predictions_is_not_enough(settings):
    with pytest.raises(FormatError, match="give both, images=DIR and predictions=FILE"):
        settings("data=coco", "data.val.0.predictions=[]")


def test_a_data_set_fills_in_what_is_not_given(settings, monkeypatch):
    monkeypatch.setenv("BPR_DATA", "/data")
    whole = settings("data=coco")
    assert str(whole.images) == "/data/coco/val2017"
    assert str(whole.predictions) == "/data/coco/predictions/val2017.json"
    assert str(whole.annotations) == "/data/coco/annotations/instances_val2017.json"
    mine = settings("data=coco", "predictions=mine.json")
    assert (str(mine.images), str(mine.predictions), mine.annotations) == ("/data/coco/val2017", "mine.json", None)
    assert whole.notes == mine.notes == ()
    monkeypatch.undo()


def test_what_of_a_data_set_is_not_refined_is_counted(settings):
    source = "{images: i, annotations: a, predictions: [a.json, b.json, c.json]}"
    (note,) = settings("data=coco", f"data.val=[{source}, {source}]").notes
    assert "1 more set of images and 2 more results of the first, not refined here" in note
    (note,) = settings("data=coco", f"data.val=[{source}, {source}]", "predictions=d.json").notes
    assert "1 more set of images, not refined here" in note


@pytest.mark.parametrize("override", [[], ["data=demo"]], ids=["nothing given", "data=demo"])
def test_the_demo_is_made_where_it_is_meant(settings, monkeypatch, override):
    monkeypatch.setattr(demo, "COUNTS", {"train": 1, "val": 1})
    made = settings(*override)
    assert made.predictions.is_file()
    assert made.annotations.is_file()
    assert list(made.images.iterdir())
