import pytest

from bpr.formats.name_matching import ImageNames, beginnings, strip_suffix


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bear/0", ["bear/0"]),
        ("480p/bear/0", ["bear/0"]),
        ("0", ["bear/0", "camel/0", "train/camel/0"]),
        ("camel/0", ["camel/0", "train/camel/0"]),
        ("val/camel/0", ["camel/0"]),
        ("train/camel/0", ["train/camel/0"]),
        ("./bear/x/../0", ["bear/0"]),
        ("/data/bear/0", ["bear/0"]),
        ("C:\\data\\bear\\0", ["bear/0"]),
        ("C:/data/bear/0", ["bear/0"]),
        ("bear\\0", ["bear/0"]),
        ("C:\\data\\dog\\0", []),
        ("dog/0", []),
        ("bear/1", []),
        ("", []),
    ],
)
def test_the_folders_that_both_names_have_must_agree(name, expected):
    assert ImageNames(["bear/0", "camel/0", "train/camel/0"]).find(name) == expected


def test_names_of_windows_are_found_by_others():
    assert ImageNames(["bear\\0", "C:\\x\\camel\\0"]).find("bear/0") == ["bear\\0"]


def test_a_name_without_folders_fits_any():
    assert ImageNames(["0"]).find("camel/0") == ["0"]
    assert ImageNames(["x/0"]).alike("camel/0") == ["x/0"]


def test_a_mask_may_be_named_after_each_beginning():
    assert list(beginnings("a_b-1.x")) == ["a_b-1.x", "a_b-1", "a_b", "a"]
    assert list(beginnings("_a")) == ["_a"]


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b.c.png", "a/b.c"), ("b.jpg", "b"), ("C:\\a\\b.jpg", "/a/b"), ("", ".")]
)
def test_the_suffix_is_no_part_of_the_name(name, expected):
    assert strip_suffix(name) == expected
