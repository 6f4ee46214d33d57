"""The report page: what stands in it, and that nothing from a file can act in it."""

import base64
import hashlib
import re
from html import unescape

import pytest

from bpr.evaluation.table import table_rows
from bpr.report.page import render


def cells(page, table):
    body = re.search(rf'<table id="{table}">(.*?)</table>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL)
    return [
        [unescape(re.sub(r"<[^>]*>", "", c)) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


def test_without_ground_truth_the_page_shows_the_change_alone(finish):
    page = render(*finish(annotated=False).arguments(), "settings: none")
    assert "IoU of coarse and refined masks" in page
    assert 'id="score-table"' not in page
    assert 'id="class-table"' not in page
    assert 'id="worse"' not in page
    assert "<bdi>class 1</bdi>" in page
    assert "<bdi>entry 2</bdi>" in page
    found = finish(annotated=False)
    for entry in found.run.coarse.entries:
        entry["class_name"] = "<disc>"
    assert "<bdi>&lt;disc&gt;</bdi>" in render(*found.arguments(), "settings: none")
    assert page.count("<img") == 3 * 3  # image, coarse and refined of three instances


def test_the_tables_hold_the_figures(finish):
    found = finish()
    run, evaluation = found.run, found.evaluation
    page = render(*found.arguments(), "threshold: 0.5")
    assert cells(page, "score-table") == table_rows(evaluation)
    summary = dict(cells(page, "summary-table"))
    assert (summary["Images"], summary["Instances"], summary["Patches"], summary["empty mask"]) == (
        "4",
        "12",
        "77",
        "1",
    )
    assert summary["Time"] == "4.5 s"
    assert "threshold: 0.5" in page
    rows = {row[0]: row[1:] for row in cells(page, "class-table")[2:]}
    assert list(rows) == ["disc", "disk"]
    assert rows["disc"][:3] == ["10", "8", "8"]
    assert rows["disc"][3] == f"{100 * evaluation.before.mask.per_class[1]:.1f}"
    assert rows["disc"][7] == f"{100 * evaluation.scores.boundary.per_class[1]:.1f}"
    of_class = [
        n for n, p in enumerate(evaluation.instances.position) if run.coarse.entries.entries[p]["category_id"] == 1
    ]
    assert rows["disc"][10] == f"{100 * evaluation.instances.iou[of_class].mean():.1f}"


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_the_number_of_pictures_is_bounded(finish, shown):
    page = render(*finish(refine=lambda n, coarse, truth: truth).arguments(), "", shown)
    assert page.count("<img") == shown * 4 * 2  # changed and made better; none is worse


def test_predictions_with_a_low_score_are_counted_and_not_pictured(finish):
    found = finish(refine=lambda n, coarse, truth: truth)
    scores = sorted(change.coarse.score for change in found.changes)
    kept = sum(score >= scores[5] for score in scores)
    page = render(*found.arguments(), "", min_score=scores[5])
    below = f"Without {len(scores) - kept} predictions with a score below {scores[5]:g} (report_min_score)."
    assert page.count(below) == 3
    assert page.count("<figure>") == 2 * kept  # made better, and changed most
    assert "report_min_score" not in render(*found.arguments(), "", min_score=scores[0])


def test_what_was_made_better_and_worse_comes_first(finish):
    page = render(*finish().arguments(), "")
    order = [page.index(f'<h2 id="{anchor}">') for anchor in ("scores", "better", "worse", "changed", "classes")]
    assert order == sorted(order)


def test_only_the_script_of_the_page_may_run(finish):
    page = render(*finish().arguments(), "")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in page
    assert page.count('<input type="range"') == page.count("<figure>") == 6


def test_a_run_without_changes_has_a_page(finish):
    page = render(*finish(refine=lambda n, coarse, truth: coarse).arguments(), "")
    assert "<img" not in page
    assert page.count("None.") == 3
