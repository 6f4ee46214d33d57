import os
import socket
from pathlib import PurePath

import pytest

from bpr.formats.files import replacing, resolve_inside, sweep


def test_hosts_that_share_a_folder_and_a_process_id_do_not_write_to_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(socket, "gethostname", lambda: "container")
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other
        for path in (one, other):
            path.write_text("x")


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "new" / "a") as unfinished:
            unfinished.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_an_interruption_leaves_the_older_file_and_nothing_else(tmp_path, problem):
    (tmp_path / "a").write_text("older")
    with pytest.raises(problem), replacing(tmp_path / "a") as unfinished:  # noqa: PT012, the block is interrupted
        unfinished.write_text("half")
        raise problem
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "older"


@pytest.mark.parametrize("name", ["漢" * 80, "a" * 250])
def test_names_as_long_as_the_file_system_allows_are_written(tmp_path, name):
    with replacing(tmp_path / name) as unfinished:
        unfinished.write_text("x")
    assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize(
    ("given", "start", "expected"),
    [("a/b.png", "", "a/b.png"), ("../b.png", "a", "b.png"), ("./a/../b.png", "", "b.png"), ("b", "a/c", "a/c/b")],
)
def test_paths_are_taken_from_the_folder_that_they_start_in(given, start, expected):
    assert resolve_inside(given, PurePath(start)).as_posix() == expected


@pytest.mark.parametrize("given", ["/etc/passwd", "../a", "a/../../b", "..", ".", "", "a/.."])
def test_what_leads_out_of_the_folder_or_names_the_folder_is_refused(given):
    with pytest.raises(ValueError, match=r"absolute path|leads out of the folder"):
        resolve_inside(given)


def test_what_killed_processes_left_of_a_file_is_swept_and_nothing_else(tmp_path):
    long = "a" * 60
    writing = [replacing(tmp_path / name) for name in (f"{long}1.json", f"{long}2.json")]
    first, second = (one.__enter__() for one in writing)
    mine = [tmp_path / "a.tmp", tmp_path / f"{long}1.json.tmp", tmp_path / f"{first.name}.bak"]
    for path in (first, second, *mine):
        path.touch()
    sweep(tmp_path / f"{long}1.json")
    assert set(tmp_path.iterdir()) == {second, *mine}
    sweep(tmp_path / "absent" / "a.json")


def test_what_killed_processes_left_in_a_folder_is_swept(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    writing = replacing(tmp_path / "a" / "b" / "c.png")
    writing.__enter__().touch()
    (tmp_path / "a" / "b" / "mine.tmp").touch()
    sweep(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["mine.tmp"]
