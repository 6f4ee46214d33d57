"""The report page: what stands in it, and that nothing from a file can act in it."""

import json
import re
from html import unescape

import numpy as np
import pytest

from bpr import rle as rle_codec
from bpr.data.records import refinement_records
from bpr.evaluation.images import Results
from bpr.evaluation.scores import evaluate_results
from bpr.evaluation.table import table_rows
from bpr.formats.coco import read_annotations, read_results, refined_entry
from bpr.formats.errors import FormatError
from bpr.refine.results import FinishedRun, RefinementSummary
from bpr.report import pictures as crops_module
from bpr.report import report_path, write_report
from bpr.report.changes import instance_changes, made_better, made_worse, most_changed
from bpr.report.histogram import gain_histogram, kept_histogram
from bpr.report.page import render
from bpr.report.pictures import crop_window, outline, panels_of

HOSTILE = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">\"'&\ud800"
SUMMARY = RefinementSummary(4, 12, 11, 3, 77, {"empty mask": 1})


def finished(toy, annotated=True, refine=lambda n, rle, truth: rle):
    """A run on the toy data whose refined masks are ``refine(entry, coarse, truth)``."""
    annotations = read_annotations(toy.annotations)
    entries = read_results(toy.predictions)
    truths = [truth.rle for image in annotations.images.values() for truth in image.truths]
    refined = [refined_entry(e, refine(n, e["segmentation"], truths[n])) for n, e in enumerate(entries)]
    coarse, refined = Results(toy.predictions, entries), Results(toy.root / "refined.json", refined)
    records = refinement_records(toy.images, toy.predictions, entries, annotations)
    run = FinishedRun(records, coarse, refined, annotations if annotated else None, SUMMARY, 4.5)
    return run, (evaluate_results(refined, annotations, coarse) if annotated else None)


def empty(n, coarse, truth):
    return rle_codec.encode(np.zeros(coarse["size"], np.bool_))


def mixed(n, coarse, truth):
    """Entries 0 and 4 become perfect, 2 is lost, the others stay."""
    return {0: truth, 4: truth, 2: empty(n, coarse, truth)}.get(n, coarse)


def positions(changes):
    return [change.coarse.position for change in changes]


def cells(page, table):
    body = re.search(rf'<table id="{table}">(.*?)</table>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL)
    return [
        [unescape(re.sub(r"<[^>]*>", "", c)) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


def test_instances_are_chosen_by_how_much_they_changed(toy_coco):
    changes = instance_changes(*finished(toy_coco, refine=mixed))
    assert positions(changes) == list(range(12))
    assert positions(most_changed(changes, 9))[0] == 2
    assert sorted(positions(most_changed(changes, 9))) == [0, 2, 4]
    assert positions(most_changed(changes, 1)) == [2]
    assert sorted(positions(made_better(changes, 9))) == [0, 4]
    assert positions(made_worse(changes, 9)) == [2]
    assert changes[0].judgement.iou[1] == 1
    assert changes[0].kept == pytest.approx(changes[0].judgement.iou[0])  # the refined mask is the truth


def test_without_ground_truth_only_the_change_is_known(toy_coco):
    changes = instance_changes(*finished(toy_coco, annotated=False, refine=mixed))
    assert all(change.judgement is None for change in changes)
    assert (made_better(changes, 9), made_worse(changes, 9)) == ([], [])
    page = render(*finished(toy_coco, annotated=False, refine=mixed), "settings: none")
    assert "IoU of coarse and refined masks" in page
    assert 'id="score-table"' not in page
    assert 'id="class-table"' not in page
    assert 'id="worse"' not in page
    assert "<bdi>class 1</bdi>" in page
    assert page.count("<img") == 3 * 3  # image, coarse and refined of three instances


def test_the_tables_hold_the_figures(toy_coco):
    run, evaluation = finished(toy_coco, refine=mixed)
    page = render(run, evaluation, "threshold: 0.5")
    assert cells(page, "score-table") == table_rows(evaluation)
    summary = dict(cells(page, "summary-table"))
    assert (summary["Images"], summary["Instances"], summary["Patches"], summary["empty mask"]) == (
        "4",
        "12",
        "77",
        "1",
    )
    assert "threshold: 0.5" in page
    rows = {row[0]: row[1:] for row in cells(page, "class-table")[2:]}
    assert list(rows) == ["disc", "disk"]
    assert rows["disc"][:3] == ["10", "8", "8"]
    assert rows["disc"][3] == f"{100 * evaluation.before.mask.per_class[1]:.1f}"
    assert rows["disc"][7] == f"{100 * evaluation.scores.boundary.per_class[1]:.1f}"
    of_class = [n for n, p in enumerate(evaluation.instances.position) if run.coarse.entries[p]["category_id"] == 1]
    assert rows["disc"][10] == f"{100 * evaluation.instances.iou[of_class].mean():.1f}"


def test_text_from_files_stays_text(toy_coco):
    content = json.loads(toy_coco.annotations.read_text())
    content["categories"][0]["name"] = HOSTILE
    toy_coco.annotations.write_text(json.dumps(content))
    path = write_report(*finished(toy_coco, refine=mixed), f"images: {HOSTILE}")
    page = path.read_text(encoding="utf-8")
    assert path == toy_coco.root / "refined.html"
    assert "<script" not in page
    assert "src=x" in page
    assert "<img src=x" not in page
    assert sorted(p.name for p in toy_coco.root.iterdir() if "refined" in p.name) == ["refined.html"]


def test_only_images_that_are_shown_are_decoded_each_once(toy_coco, monkeypatch):
    decoded = []
    read = crops_module.read_image
    monkeypatch.setattr(crops_module, "read_image", lambda path, *rest: decoded.append(path.name) or read(path, *rest))
    changes = instance_changes(*finished(toy_coco, refine=mixed))
    panels = panels_of([changes[2], changes[4], changes[0]])
    assert decoded == ["000000000010.png", "000000000011.png"]
    assert [[panel.title for panel in of_one] for of_one in panels] == [
        ["image", "coarse", "refined", "ground truth"]
    ] * 3
    assert [panel.empty for panel in panels[0]] == [False, False, True, False]


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_the_number_of_pictures_is_bounded(toy_coco, shown):
    page = render(*finished(toy_coco, refine=lambda n, coarse, truth: truth), "", shown)
    assert page.count("<img") == shown * 4 * 2  # changed and made better; none is worse


def test_a_run_without_changes_has_a_page(toy_coco):
    page = render(*finished(toy_coco), "")
    assert "<img" not in page
    assert page.count("None.") == 3


def test_a_window_holds_all_masks_and_stays_inside_the_image():
    mask = np.zeros((100, 200), np.bool_)
    mask[40:60, 3:53] = True
    other = np.zeros_like(mask)
    other[70:72, 50:63] = True
    codes = [rle_codec.encode(m) for m in (mask, other)]
    assert crop_window(codes, (100, 200)) == (0, 33, 70, 79)
    assert crop_window([rle_codec.encode(np.zeros_like(mask))], (100, 200)) == (0, 0, 200, 100)


def test_an_outline_is_where_the_mask_ends():
    view = np.full((40, 40, 3), 90, np.uint8)
    mask = np.zeros((10, 10), np.bool_)
    mask[3:7, 3:7] = True
    drawn = outline(view, mask, (255, 0, 0))
    red = (drawn == (255, 0, 0)).all(axis=2)
    assert red[12, 12:28].all()
    assert not red[16:24, 16:24].any()
    assert (view == 90).all()


def test_every_gain_is_in_one_bar():
    histogram = gain_histogram([-0.9, -0.011, -0.0005, 0, 0.02, 0.5])
    assert sum(bar.count for bar in histogram.bars) == 6
    assert [bar.count for bar in histogram.bars if bar.meaning == "same"] == [2]
    assert sum(bar.count for bar in histogram.bars if bar.meaning == "worse") == 2
    assert histogram.bars[0].count == 1
    assert histogram.ticks[9:11] == ("−0.1", "+0.1")


def test_every_kept_share_is_in_one_bar():
    histogram = kept_histogram([1, 1, 0.99, 0])
    assert [bar.count for bar in histogram.bars] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert histogram.ticks[-1] == "100"
    assert sum(bar.count for bar in kept_histogram([]).bars) == 0


def test_the_page_never_replaces_the_results(tmp_path):
    assert report_path(tmp_path / "a.b.json") == tmp_path / "a.b.html"
    with pytest.raises(FormatError, match="another suffix"):
        report_path(tmp_path / "refined.html")
