import gzip
import json

import pytest

from bpr.data.split import choose_holdout, choose_photographs, main


def test_train_and_holdout_share_no_image_and_lose_none(toy_coco, tmp_path):
    arguments = [
        str(toy_coco.annotations),
        str(toy_coco.predictions),
        "--holdout",
        "2",
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(arguments) == 0
    whole = json.loads(toy_coco.annotations.read_text())
    parts = [json.loads((tmp_path / "o" / p / "instances.json").read_text()) for p in ("train", "holdout")]
    ids = [{image["id"] for image in part["images"]} for part in parts]
    assert [len(i) for i in ids] == [3, 2]
    assert ids[0] | ids[1] == {image["id"] for image in whole["images"]}
    for part, kept in zip(parts, ids, strict=True):
        assert {a["image_id"] for a in part["annotations"]} <= kept
        assert part["categories"] == whole["categories"]
    entries = [json.loads((tmp_path / "o" / p / "coarse.json").read_text()) for p in ("train", "holdout")]
    assert len(entries[0]) + len(entries[1]) == len(json.loads(toy_coco.predictions.read_text()))


def test_ids_that_are_text_in_annotations_lose_none(toy_coco, tmp_path):
    whole = json.loads(toy_coco.annotations.read_text())
    for annotation in whole["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    (tmp_path / "text.json").write_text(json.dumps(whole))
    assert main([str(tmp_path / "text.json"), "--holdout", "2", "--output", str(tmp_path / "o")]) == 0
    parts = [json.loads((tmp_path / "o" / part / "text.json").read_text()) for part in ("train", "holdout")]
    assert sum(len(part["annotations"]) for part in parts) == len(whole["annotations"])


def test_the_draw_depends_on_the_seed_alone():
    ids = list(range(50))
    assert choose_holdout(ids, 10) == choose_holdout(ids, 10)
    assert choose_holdout(ids, 10) != choose_holdout(ids, 10, seed=1)


def test_more_than_there_is_is_refused(toy_coco, tmp_path, capsys):
    assert main([str(toy_coco.annotations), "--holdout", "5", "--output", str(tmp_path / "o")]) == 2
    assert "give 1 to 4" in capsys.readouterr().err
    with pytest.raises(ValueError, match="cannot keep 0"):
        choose_holdout([1, 2], 0)


def test_an_input_is_not_written_over(toy_coco, capsys):
    """The output folder is the one above, so that ``train/instances.json`` would be the annotations."""
    toy_coco.root.rename(toy_coco.root.with_name("train"))
    annotations = toy_coco.root.with_name("train") / "instances.json"
    before = annotations.read_bytes()
    assert main([str(annotations), "--holdout", "2", "--output", str(toy_coco.root.parent)]) == 2
    assert "is the input" in capsys.readouterr().err
    assert annotations.read_bytes() == before


def test_files_of_one_name_are_refused_instead_of_losing_one(toy_coco, tmp_path, capsys):
    other = tmp_path / "other" / toy_coco.predictions.name
    other.parent.mkdir()
    other.write_bytes(toy_coco.predictions.read_bytes())
    given = [str(toy_coco.annotations), str(toy_coco.predictions), str(other)]
    assert main([*given, "--holdout", "1", "--output", str(tmp_path / "split")]) == 2
    assert "rename one of them" in capsys.readouterr().err
    assert not (tmp_path / "split").exists()


def test_a_photograph_is_on_one_side_in_all_files():
    one = {i: f"bsds_{100 + i}.jpg" for i in range(200)}
    two = {f"x{i}": f"berkeley100_{100 + i}.png" for i in range(0, 200, 3)}
    kept = choose_photographs(one, 0.25, "[0-9]+$")
    assert {f"x{i}" for i in kept if i % 3 == 0} == choose_photographs(two, 0.25, "[0-9]+$")
    assert 30 < len(kept) < 70
    assert choose_photographs(one, 0.25, None) != kept != choose_photographs(one, 0.25, "[0-9]+$", seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--share", "1"], "must be in"),
        (["--share", "0.2", "--photograph", "zzz$"], "matches nothing in"),
        (["--share", "0.2", "--photograph", "[0-9"], "--photograph [0-9 is no regular expression: "),
    ],
)
def test_a_wrong_share_or_expression_is_refused(toy_coco, tmp_path, capsys, options, message):
    assert main([str(toy_coco.annotations), *options, "--output", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_gzipped_annotations_come_back_gzipped(toy_coco, tmp_path):
    path = tmp_path / "instances.json.gz"
    path.write_bytes(gzip.compress(toy_coco.annotations.read_bytes()))
    assert main([str(path), "--holdout", "2", "--output", str(tmp_path / "o")]) == 0
    assert len(json.loads(gzip.decompress((tmp_path / "o" / "holdout" / path.name).read_bytes()))["images"]) == 2
