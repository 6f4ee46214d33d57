"""The report: what is compared with what, and how it is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpr import rle as rle_codec
from bpr.evaluation import evaluate, format_table
from bpr.evaluation.boundary_f import boundary_f_of_rles
from bpr.evaluation.instances import Shares, compare
from bpr.formats.errors import FormatError

SIZE = (60, 80)


def square(left: int, right: int) -> Any:
    """Rows 10 to 50 of an image of 60 x 80 px, from column ``left`` to ``right``."""
    mask = np.zeros(SIZE, np.bool_)
    mask[10:50, left:right] = True
    return rle_codec.encode(mask)


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def prediction(left: int, right: int, image_id: int = 5, category: int = 3, score: float = 0.9) -> dict[str, Any]:
    segmentation = square(left, right)
    return {"image_id": image_id, "category_id": category, "segmentation": segmentation, "score": score}


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Two images; two objects of class 3 in the first, without ``id``, ``area``, ``iscrowd``."""
    images = [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in (5, 2)]
    objects = [{"image_id": 5, "category_id": 3, "segmentation": square(*s)} for s in ((10, 30), (50, 70))]
    content = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "box"}]}
    return write(tmp_path / "instances.json", content)


def test_perfect_masks_score_1(tmp_path: Path, annotations: Path) -> None:
    results = write(tmp_path / "perfect.json", [prediction(10, 30), prediction(50, 70)])

    found = evaluate(results, annotations)

    assert (found.images, found.predictions, found.unscored, found.matched) == (2, 2, 0, 2)
    assert found.scores.mask.ap == found.scores.boundary.ap == pytest.approx(1)
    assert found.scores.mask_iou == found.scores.boundary_f == 1
    assert found.scores.mask.per_class == pytest.approx({3: 1})
    assert found.before is found.iou_shares is found.boundary_f_shares is None


def test_no_predictions_score_0_and_have_no_means(tmp_path: Path, annotations: Path) -> None:
    found = evaluate(write(tmp_path / "none.json", []), annotations)

    assert (found.scores.mask.ap, found.scores.mask_iou, found.scores.boundary_f, found.matched) == (0, None, None, 0)
    assert "–" in format_table(found)


def test_the_pairs_of_the_coarse_masks_are_kept(tmp_path: Path, annotations: Path) -> None:
    """Refinement ruins the first mask and makes the second prediction cover the first one's object."""
    coarse = write(tmp_path / "coarse.json", [prediction(12, 30), prediction(50, 68, score=0.5)])
    refined = write(tmp_path / "refined.json", [prediction(28, 30), prediction(10, 30, score=0.5)])

    found = evaluate(refined, annotations, against=coarse)

    assert found.matched == 2
    assert found.before is not None
    assert found.before.mask_iou == pytest.approx(0.9)
    assert found.scores.mask_iou == pytest.approx((0.1 + 0) / 2)
    assert found.iou_shares == Shares(better=0, worse=1, unchanged=0, spoilt=1)


def test_the_shares_tell_better_from_worse_and_unchanged(tmp_path: Path, annotations: Path) -> None:
    coarse = write(tmp_path / "coarse.json", [prediction(14, 30), prediction(50, 68, score=0.5)])
    refined = write(tmp_path / "refined.json", [prediction(10, 30), prediction(50, 68, score=0.5)])

    found = evaluate(refined, annotations, against=coarse)

    assert found.iou_shares == found.boundary_f_shares == Shares(better=0.5, worse=0, unchanged=0.5, spoilt=0)
    assert found.before is not None
    expected = [boundary_f_of_rles(square(14, 30), square(10, 30)), boundary_f_of_rles(square(50, 68), square(50, 70))]
    assert found.before.boundary_f == pytest.approx(np.mean(expected))


def test_a_change_of_a_thousandth_is_none() -> None:
    before = np.array([0.5, 0.5, 0.5, 0.5])

    assert compare(before, np.array([0.5009, 0.4991, 0.502, 0.498])) == Shares(0.25, 0.25, 0.5, 0)
    assert compare(before, np.array([0.4, 0.481, 0.479, 0.5])) == Shares(0, 0.75, 0.25, 0.5)
    assert compare(np.zeros(0), np.zeros(0)) == Shares(0, 0, 0, 0)


def test_predictions_of_classes_without_objects_are_counted_and_not_scored(tmp_path: Path, annotations: Path) -> None:
    entries = [prediction(10, 30), prediction(50, 70), prediction(0, 5, category=8), prediction(0, 9, category=9)]
    found = evaluate(write(tmp_path / "results.json", entries), annotations)

    assert found.unscored == 2
    assert found.scores.mask.ap == pytest.approx(1)
    assert "4 predictions (2 of classes without an annotated object: not scored)" in format_table(found)


def test_fields_that_others_add_do_not_matter(tmp_path: Path, annotations: Path) -> None:
    plain = [prediction(10, 28), prediction(50, 70, score=0.4)]
    extra = [{**p, "file_name": "x.png", "id": 0, "bbox": [0, 0, 1, 1], "area": -4, "iscrowd": 1} for p in plain]

    found = [evaluate(write(tmp_path / f"{n}.json", e), annotations).scores for n, e in enumerate((plain, extra))]

    assert found[0] == found[1]


def test_the_order_of_predictions_and_images_does_not_matter(make_files: Callable[..., Any]) -> None:
    files = make_files(3)
    files.change_results(lambda entries: [e.update(score=1 - n / 1000) for n, e in enumerate(entries)])
    found = evaluate(files.results, files.annotations).scores
    files.change_results(list.reverse)
    files.change_annotations(lambda content: content["images"].reverse())
    again = evaluate(files.results, files.annotations).scores

    assert found.mask == again.mask
    assert found.boundary == again.boundary
    assert (found.mask_iou, found.boundary_f) == pytest.approx((again.mask_iou, again.boundary_f))


def test_image_ids_may_be_text(make_files: Callable[..., Any]) -> None:
    files = make_files(4)
    found = evaluate(files.results, files.annotations).scores
    files.change_annotations(lambda content: [i.update(id=f"img-{i['id']}") for i in content["images"]])
    for change in (files.change_results, lambda c: files.change_annotations(lambda f: c(f["annotations"]))):
        change(lambda entries: [e.update(image_id=f"img-{e['image_id']}") for e in entries])

    assert evaluate(files.results, files.annotations).scores == found


def test_a_file_against_itself_changes_nothing(make_files: Callable[..., Any]) -> None:
    files = make_files(2)
    found = evaluate(files.results, files.annotations, against=files.results)

    assert found.scores == found.before
    assert found.iou_shares == found.boundary_f_shares == Shares(0, 0, 1, 0)


def test_the_report_is_json(make_files: Callable[..., Any]) -> None:
    files = make_files(2)
    content = evaluate(files.results, files.annotations, against=files.results).as_dict()

    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert [c["name"] for c in content["scores"]["classes"]] == ["class 1", "class 2", "class 7"]
    assert content["scores"]["classes"] == content["before"]["classes"]


def test_the_table_of_one_file_has_one_column(tmp_path: Path, annotations: Path) -> None:
    table = format_table(evaluate(write(tmp_path / "r.json", [prediction(10, 30), prediction(50, 70)]), annotations))
    rows = {r.split("|")[1].strip(): r.split("|")[2:-1] for r in table.splitlines() if r.startswith("|")}

    assert [c.strip() for c in rows["AP"]] == ["100.0"]
    assert [c.strip() for c in rows["AP large"]] == ["–"]
    assert "2 matched instances (IoU >= 0.5)" in table
    assert "better" not in table


def test_the_table_of_a_comparison_has_the_change(tmp_path: Path, annotations: Path) -> None:
    coarse = write(tmp_path / "coarse.json", [prediction(12, 30), prediction(50, 70)])
    refined = write(tmp_path / "refined.json", [prediction(10, 30), prediction(50, 70)])
    table = format_table(evaluate(refined, annotations, against=coarse))
    rows = {r.split("|")[1].strip(): [c.strip() for c in r.split("|")[2:-1]] for r in table.splitlines() if "|" in r}

    assert rows[""] == ["coarse", "refined", "change"]
    assert rows["Mask IoU (matched)"] == ["95.0", "100.0", "+5.0"]
    assert rows["AP large"] == ["–", "–", "–"]
    assert "by mask IoU: 50.0% better, 0.0% worse (0.0% by more than 0.02), 50.0% unchanged" in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop(), r"refined.json: has 1 predictions, but .*coarse.json has 2"),
        (lambda e: e[1].update(image_id=2), r"refined.json, entry 1: image_id is 2, but 5 in"),
        (lambda e: e[0].update(category_id=4), r"refined.json, entry 0: category_id is 4, but 3 in"),
        (lambda e: e[1].update(image_id=99), r"entry 1: image_id 99 is not among the 2 images"),
        (lambda e: e[1].update(image_id="x"), r"entry 1: image_id 'x' is not among .*\(ids such as 5\)"),
        (lambda e: e[0].update(segmentation={"size": [6, 8], "counts": "`1"}), r"entry 0: segmentation"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, annotations: Path, change: Callable[[Any], None], message: str
) -> None:
    coarse = write(tmp_path / "coarse.json", [prediction(12, 30), prediction(50, 70)])
    entries = json.loads(coarse.read_text())
    change(entries)

    with pytest.raises(FormatError, match=message):
        evaluate(write(tmp_path / "refined.json", entries), annotations, against=coarse)


@pytest.mark.parametrize("area", ["12", -1, True, float("nan")])
def test_an_area_that_is_no_area_is_refused(tmp_path: Path, annotations: Path, area: object) -> None:
    content = json.loads(annotations.read_text())
    content["annotations"][1]["area"] = area
    results = write(tmp_path / "results.json", [])

    with pytest.raises(FormatError, match=r"annotations\[1\]: 'area' must be"):
        evaluate(results, write(annotations, content))


def test_annotations_without_objects_are_refused(tmp_path: Path, annotations: Path) -> None:
    content = json.loads(annotations.read_text())
    del content["annotations"]

    with pytest.raises(FormatError, match="no object is annotated"):
        evaluate(write(tmp_path / "results.json", []), write(annotations, content))
