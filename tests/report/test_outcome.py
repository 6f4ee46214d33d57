import pytest

from bpr.evaluation.table import format_table
from bpr.formats.errors import FormatError
from bpr.formats.protection import Inputs
from bpr.refine.outputs import check_companions, contact_sheet_path, report_path
from bpr.report.outcome import show_outcome


def test_everything_is_made_of_one_reading_of_the_refined_file(finish):
    found = finish()
    lines = list(show_outcome(found.run, 0.02, contact_sheet=True, settings="threshold: 0.5"))
    folder = found.run.refined.path.parent
    assert lines == [
        f"before and after: {folder / 'refined_contact_sheet.png'}",
        format_table(found.evaluation),
        f"report: {folder / 'refined.html'}",
    ]
    assert (found.run.refined.entries.passes, found.run.refined.entries.single) == (1, 0)
    assert (found.run.coarse.entries.passes, found.run.coarse.entries.single) == (0, 0)  # the records have its masks


def test_nothing_is_read_if_nothing_is_to_be_shown(finish):
    found = finish(annotated=False)
    assert list(show_outcome(found.run, 0.02, contact_sheet=False, settings=None)) == []
    assert found.run.refined.entries.passes == 0


def test_a_sheet_without_changes_is_not_written(finish):
    found = finish(refine=lambda n, coarse, truth: coarse, annotated=False)
    lines = list(show_outcome(found.run, 0.02, contact_sheet=True, settings=None))
    assert lines == ["no mask changed: no contact sheet"]


def test_what_an_earlier_run_wrote_is_replaced(finish):
    found = finish()
    for _ in range(2):
        check_companions(found.run.refined.path, Inputs.of([]), False, report=True, contact_sheet=True)
        list(show_outcome(found.run, 0.02, contact_sheet=True, settings=""))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>of the user</title>", b"\x89PNG\r\n\x1a\n"])
def test_a_page_or_sheet_of_the_user_is_not_replaced(tmp_path, content):
    output = tmp_path / "refined.json"
    for name, asked in (("refined.html", {"report": True}), ("refined_contact_sheet.png", {"contact_sheet": True})):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=rf"{name}: exists.*overwrite=true"):
            check_companions(output, Inputs.of([]), False, **asked)
        check_companions(output, Inputs.of([]), True, **asked)


def test_a_photograph_is_never_replaced_by_a_sheet(tmp_path, toy_coco):
    photograph = next(toy_coco.images.iterdir())
    sheet = tmp_path / "refined_contact_sheet.png"
    sheet.symlink_to(photograph)
    with pytest.raises(FormatError, match="inputs are never written over"):
        check_companions(tmp_path / "refined.json", Inputs.of([photograph]), True, contact_sheet=True)


def test_the_page_never_replaces_the_results(tmp_path):
    assert report_path(tmp_path / "a.b.json") == tmp_path / "a.b.html"
    assert report_path(tmp_path / "a.jsonl.gz") == tmp_path / "a.html"
    assert contact_sheet_path(tmp_path / "a.json.gz") == tmp_path / "a_contact_sheet.png"
    assert report_path(tmp_path / "a.html") == tmp_path / "a.html.html"


def test_folders_whose_names_end_alike_have_pages_and_sheets_of_their_own(tmp_path):
    for place in (report_path, contact_sheet_path):
        assert place(tmp_path / "run.1") != place(tmp_path / "run.2")
