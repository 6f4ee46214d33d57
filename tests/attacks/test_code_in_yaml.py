"""The ``data.yaml`` beside YOLO labels holds Python objects, or aliases of aliases that become gigabytes of text."""

import pytest

from bpr.formats.errors import FormatError
from bpr.formats.predictions import read_predictions
from samples import SIZE, make_yolo

LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


def read(folder, text):
    path = make_yolo(folder, ["a"])
    (path / "data.yaml").write_text(text)
    return read_predictions(path, image_sizes=lambda: {"a": SIZE})


def test_objects_are_not_made(tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(FormatError, match=r"data\.yaml: cannot be read as YAML"):
        read(tmp_path, f"names: !!python/object/apply:os.mkdir ['{trace}']\n")
    assert not trace.exists()


def test_names_that_multiply_are_none(tmp_path):
    found = read(tmp_path, f"{LAUGHS}names: {{3: *a59, 7: bear}}\n")
    assert [entry.get("class_name") for entry in found.entries] == [None, "bear"]


@pytest.mark.parametrize(
    "text", ["names: " + "[" * 100_000, "names: 2001-99-99\n", f"names: {{{'9' * 5000}: a}}\n", "\0"]
)
def test_what_is_no_yaml_is_named(tmp_path, text):
    with pytest.raises(FormatError, match=r"data\.yaml: cannot be read as YAML"):
        read(tmp_path, text)
