import pytest

from bpr.data.settings import Source, TrainingData, demo_source
from bpr.structures import SettingError
from bpr.synthetic import demo

SOURCE = {"images": "images", "annotations": "instances.json"}


def data(tmp_path, **changed):
    return TrainingData(**{"train": [SOURCE], "cache": tmp_path, **changed})


def test_the_demo_is_made_where_there_is_none(tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.setattr(demo, "COUNTS", {"train": 1, "val": 1})
    source = demo_source(tmp_path / "new" / "demo", "val", weight=2)
    assert [path.exists() for path in (source.images, source.annotations, *source.predictions)] == [True] * 3
    assert source.weight == 2


def test_a_mapping_becomes_a_source_and_a_name_an_origin(tmp_path):
    made = data(tmp_path, coarse="both", cache=str(tmp_path))
    assert made.train == (Source("images", "instances.json"),)
    assert made == data(tmp_path, train=[Source(**SOURCE)], coarse="both")
    one, none = ({**SOURCE, "predictions": given} for given in ("coarse.json", None))
    assert [[*Source.of(given).predictions] for given in (one, none)] == [["coarse.json"], []]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**SOURCE, "predicitons": []}, "has no predicitons: did you mean predictions"),
        ({**SOURCE, "zzz": []}, "has no zzz: there are images, annotations, predictions, weight"),
        ({"images": "images"}, "needs annotations"),
        ({**SOURCE, "weight": 0}, "weight of instances.json must be above 0"),
        ({**SOURCE, "simulated_per_object": 0}, "simulated_per_object of instances.json must be at least 1"),
    ],
)
def test_a_wrong_source_is_refused_with_the_key(tmp_path, given, message):
    with pytest.raises(SettingError, match=message):
        data(tmp_path, train=[given])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 5}, r"data\.batch_size \(5\) must be a multiple of data\.patches_per_image \(4\)"),
        ({"batch_size": 0}, r"data\.batch_size must be at least 1"),
        ({"patches_per_image": 0}, r"data\.patches_per_image must be at least 1"),
        ({"patches_per_instance": 0}, r"data\.patches_per_instance must be at least 1"),
        ({"num_workers": -1}, r"data\.num_workers must be at least 0"),
        ({"simulated_per_object": 0}, r"data\.simulated_per_object must be at least 1"),
        ({"min_iou": 1.0}, r"data\.min_iou must be in \[0, 1\)"),
        ({"rounds": ["object"]}, r"needs data\.crop_size"),
        ({"rounds": ["contour"]}, r"rounds must be one of boundary, object, got 'contour'"),
        ({"rounds": [], "crop_size": 64}, "must name a round"),
        ({"crop_size": 1}, r"data\.crop_size must be at least 2"),
        ({"train": []}, r"data\.train is empty"),
        ({"train": [SOURCE, {**SOURCE, "weight": 1}]}, "give all of them one"),
        ({"val": [{**SOURCE, "weight": 1}]}, r"data\.val has a weight"),
    ],
)
def test_impossible_settings_are_refused_by_name(tmp_path, changed, message):
    with pytest.raises(SettingError, match=message):
        data(tmp_path, **changed)
