import pytest

from bpr.evaluation.table import format_table
from bpr.formats.errors import FormatError
from bpr.report.outcome import contact_sheet_path, report_path, show_outcome


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


def test_page_and_sheet_say_who_made_them(finish):
    found = finish()
    list(show_outcome(found.run, 0.02, contact_sheet=True, settings=""))
    output = found.run.refined.path
    assert b'<meta name="generator" content="bpr' in report_path(output).read_bytes()[:4096]
    assert b"tEXtSoftware\0bpr" in contact_sheet_path(output).read_bytes()[:4096]


def test_the_page_never_replaces_the_results(tmp_path):
    assert report_path(tmp_path / "a.b.json") == tmp_path / "a.b.html"
    with pytest.raises(FormatError, match="another suffix"):
        report_path(tmp_path / "refined.html")
