import json
import math

import numpy as np
import pytest

from bpr import rle
from bpr.data.image_finder import SizesInFolder
from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Fault, Faults
from bpr.formats.predictions import read_predictions
from bpr.structures import OnError


def bad(reason=None):
    raise FormatError("r.json", "entry 3", "is bad; mend it", reason)


def test_what_works_is_given_back_and_nothing_is_kept():
    faults = Faults(OnError.keep)
    assert faults.attempt(lambda: 7, Reason.mask) == 7
    assert faults.found == []


def test_bad_entries_are_kept_with_their_reason():
    faults = Faults(OnError.keep)
    assert faults.attempt(bad, Reason.mask, position=3) is None
    assert faults.attempt(lambda: bad(Reason.mask_size), Reason.mask, masks=4) is None
    first, second = faults.found
    assert first == Fault("the mask cannot be read", "r.json, entry 3", "is bad; mend it", 1, 3)
    assert (second.reason, second.masks, second.position) == (Reason.mask_size, 4, None)
    assert faults.positions == {3}


def test_stopping_names_keep_as_a_remedy():
    with pytest.raises(FormatError, match=r"^r\.json, entry 3: is bad; mend it; or give on_error=keep"):
        Faults(OnError.stop).attempt(bad, Reason.mask)


def test_commands_without_the_setting_do_not_name_it():
    with pytest.raises(FormatError, match=r"mend it$"):
        Faults().attempt(bad, Reason.mask)


def test_other_errors_are_bugs_and_never_kept():
    with pytest.raises(ZeroDivisionError):
        Faults(OnError.keep).attempt(lambda: 1 / 0, Reason.mask)


LABELLED = {
    "yolo": (".txt", "1 0.1 0.1 0.5 0.1 0.5 0.5"),
    "labelme": (".json", {"label": "a", "points": [[2, 2], [15, 2], [15, 10]], "shape_type": "polygon"}),
    "sam": (".json", {"segmentation": {"size": [20, 30], "counts": [50, 20, 530]}, "predicted_iou": 0.9}),
}
PNG = {"label": "a", "points": [[2, 2], [9, 9]], "shape_type": "mask", "mask": "bm8gUE5H"}
SPOILT = [
    ("yolo", "0 0.1 0.2 0.3", Reason.mask),
    ("yolo", "0 0.1 0.2 0.3 0.4 0.5 nan", Reason.mask),
    ("yolo", "0 0.1 0.2 0.3 0.4 0.5 inf 0.1", Reason.mask),
    ("yolo", "0 0.1 0.2 0.3 0.4 0.5 7", Reason.mask),
    ("yolo", "0 0.1 0.2 0.3 0.4 0.5 x", Reason.mask),
    ("yolo", "-1 0.1 0.2 0.3 0.4 0.5 0.6", Reason.field),
    ("labelme", {"points": [[1, 2], [3, 4]]}, Reason.mask),
    ("labelme", {"points": [[1, 2], [3, 4], [5]]}, Reason.mask),
    ("labelme", {"points": [1, 2, 3, 4, 5, 6, 7]}, Reason.mask),
    ("labelme", {"points": [[1, 2], [3, 4], [5, math.nan]]}, Reason.mask),
    ("labelme", {"points": [[1, 2], [3, 4], [10**400, 6]]}, Reason.mask),
    ("labelme", {"points": None}, Reason.field),
    ("labelme", {"label": 7}, Reason.field),
    ("labelme", {"shape_type": ["mask"]}, Reason.field),
    ("labelme", PNG, Reason.mask),
    ("labelme", {**PNG, "points": [[2, math.inf], [9, 9]]}, Reason.mask),
    ("labelme", {**PNG, "mask": None}, Reason.mask),
    ("sam", {"segmentation": {"size": [20, 30], "counts": "~~"}}, Reason.mask),
    ("sam", {"segmentation": {"size": [20, 30], "counts": [5, 5]}}, Reason.mask),
    ("sam", {"segmentation": {"size": [5, 5], "counts": [25]}}, Reason.mask_size),
    ("sam", {"segmentation": [[1, 2, 3, 4, 5, 6]]}, Reason.field),
    ("sam", {"segmentation": None}, Reason.field),
    ("sam", {"predicted_iou": math.inf}, Reason.field),
]
CUT_OFF = {"labelme": '{"shapes": [{"label": "a"', "sam": '{"image": {"file_name"'}


def text_of(form, name, entries):
    """A file of labels of the image ``name``."""
    if form == "yolo":
        return "\r\n".join(entries) + "\r\n"
    if form == "labelme":
        return json.dumps(
            {"imagePath": f"{name}.jpg", "shapes": entries, "imageHeight": 20, "imageWidth": 30}, indent=1
        )
    return json.dumps({"image": {"file_name": f"{name}.jpg", "height": 20, "width": 30}, "annotations": entries})


def spoilt(form, change):
    good = LABELLED[form][1]
    return [good, change if form == "yolo" else {**good, **change}, good]


@pytest.fixture
def save(tmp_path):
    def write(form, name, text):
        path = tmp_path / "in" / f"{name}{LABELLED[form][0]}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return write


def refuses_or_keeps(path, form, faults, output, sizes=None):
    """The predictions; they are refused unless bad ones are kept, and what is kept comes back as it is."""
    sizes = sizes or {"a": (20, 30), "b": (20, 30)}
    with pytest.raises(FormatError, match="; or give on_error=keep"):
        read_predictions(path, form, lambda: sizes, faults=Faults(OnError.stop))
    found = read_predictions(path, form, lambda: sizes, faults=faults)
    found.write(output, found.entries)
    for file in path.iterdir():
        assert (output / file.name).read_bytes() == file.read_bytes()
    return found


@pytest.mark.parametrize(("form", "change", "reason"), SPOILT)
def test_a_bad_label_stays_and_those_beside_it_are_refined(save, tmp_path, form, change, reason):
    path = save(form, "a", text_of(form, "a", spoilt(form, change)))
    faults = Faults(OnError.keep)
    found = refuses_or_keeps(path.parent, form, faults, tmp_path / "out")
    assert [(fault.reason, fault.masks, fault.position) for fault in faults.found] == [(reason, 1, None)]
    where = {"yolo": "line 2", "labelme": "shapes[1]", "sam": "annotations[1]"}[form]
    assert faults.found[0].place == f"{path}, {where}"
    assert len(found.entries) == 2
    other = rle.encode(np.eye(20, 30, dtype=np.bool_))
    found.write(tmp_path / "changed", [{**entry, "segmentation": other} for entry in found.entries])
    before, after = path.read_text(), (tmp_path / "changed" / path.name).read_text()
    if form == "yolo":
        assert [a == b for a, b in zip(before.splitlines(), after.splitlines(), strict=True)] == [False, True, False]
    else:
        member = "shapes" if form == "labelme" else "annotations"
        lists = [list(map(json.dumps, json.loads(text)[member])) for text in (before, after)]
        assert [a == b for a, b in zip(*lists, strict=True)] == [False, True, False]


@pytest.mark.parametrize("form", LABELLED)
def test_labels_without_an_image_stay(save, tmp_path, form):
    for name in ("a", "stranger"):
        path = save(form, name, text_of(form, name, [LABELLED[form][1]] * 2))
    faults = Faults(OnError.keep)
    found = refuses_or_keeps(path.parent, form, faults, tmp_path / "out")
    assert {entry["image_id"] for entry in found.entries} == {"a"}
    assert [(fault.reason, fault.masks) for fault in faults.found] == [(Reason.image_missing, 2)]
    assert str(path) in faults.found[0].place


@pytest.mark.parametrize("form", CUT_OFF)
@pytest.mark.parametrize("beginning", ["", "{", None])
def test_a_file_in_a_folder_that_is_no_json_stays_and_alone_stops(save, tmp_path, form, beginning):
    save(form, "a", text_of(form, "a", [LABELLED[form][1]]))
    path = save(form, "b", CUT_OFF[form] if beginning is None else beginning)
    faults = Faults(OnError.keep)
    assert len(refuses_or_keeps(path.parent, form, faults, tmp_path / "out").entries) == 1
    assert [(fault.reason, fault.place) for fault in faults.found] == [(Reason.mask, str(path))]
    with pytest.raises(FormatError, match=r"is not JSON .*\?$"):
        read_predictions(path, form, dict, faults=Faults(OnError.keep))


@pytest.mark.parametrize(
    ("form", "text"), [("labelme", '{"shapes": 3, "imagePath": "b.jpg"}'), ("sam", '{"image": 3}')]
)
def test_a_file_in_a_folder_with_wrong_fields_stays(save, tmp_path, form, text):
    save(form, "a", text_of(form, "a", [LABELLED[form][1]]))
    path = save(form, "b", text)
    faults = Faults(OnError.keep)
    refuses_or_keeps(path.parent, form, faults, tmp_path / "out")
    assert [(fault.masks, fault.place.startswith(str(path))) for fault in faults.found] == [(1, True)]


def test_yolo_labels_that_are_all_bad_stay(save, tmp_path):
    path = save("yolo", "a", "0 1 2 3\n")
    faults = Faults(OnError.keep)
    assert not refuses_or_keeps(path.parent, "yolo", faults, tmp_path / "out").entries
    assert len(faults.found) == 1


def test_yolo_labels_of_a_damaged_image_stay(save, tmp_path):
    path = save("yolo", "a", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    faults = Faults(OnError.keep)
    refuses_or_keeps(path.parent, "yolo", faults, tmp_path / "out", SizesInFolder(tmp_path / "images", path.parent))
    assert [(fault.reason, fault.masks) for fault in faults.found] == [(Reason.image, 1)]
