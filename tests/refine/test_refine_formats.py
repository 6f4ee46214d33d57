"""`refine.py` and the evaluation on what is not a COCO results file."""

import gzip
import json
import re
import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.data.inputs import read_input
from bpr.evaluation.__main__ import main as evaluation
from bpr.evaluation.bounds import main as bounds
from bpr.evaluation.official_cityscapes import format_official, official_scores
from bpr.evaluation.scores import evaluate
from bpr.formats.errors import FormatError
from bpr.formats.polygons import trace, trace_joined
from bpr.formats.predictions import read_predictions
from bpr.structures import OnError

LABELS = {1: 24, 2: 26}


@pytest.fixture
def tree(toy_coco):
    """The toy data set in the layout of Cityscapes; the last image has an empty list of predictions."""
    root = toy_coco.root / "cityscapes"
    truth = json.loads(toy_coco.annotations.read_text())
    coarse = json.loads(toy_coco.predictions.read_text())
    for image in truth["images"]:
        name = f"toy_000000_{image['id']:06d}"
        for part in ("leftImg8bit", "gtFine"):
            (root / part / "val" / "toy").mkdir(parents=True, exist_ok=True)
        shutil.copy(
            toy_coco.images / image["file_name"], root / "leftImg8bit" / "val" / "toy" / f"{name}_leftImg8bit.png"
        )
        ids = np.full((image["height"], image["width"]), 23, np.uint16)  # sky
        for number, a in enumerate(a for a in truth["annotations"] if a["image_id"] == image["id"]):
            ids[rle.decode(a["segmentation"])] = 1000 * LABELS[a["category_id"]] + number
        Image.fromarray(ids).save(root / "gtFine" / "val" / "toy" / f"{name}_gtFine_instanceIds.png")
        folder = root / "results"
        (folder / "masks").mkdir(parents=True, exist_ok=True)
        lines = []
        for number, entry in enumerate(e for e in coarse if e["image_id"] == image["id"]):
            mask = rle.decode(entry["segmentation"]).astype(np.uint8) * 255
            Image.fromarray(mask).save(folder / "masks" / f"{name}_{number}.png")
            lines.append(f"masks/{name}_{number}.png {LABELS[entry['category_id']]} {entry['score']:.4f}\n")
        (folder / f"{name}_leftImg8bit_pred.txt").write_text("".join(lines))
    return root


def test_a_cityscapes_folder_comes_back_as_one(tree, tmp_path, refine, capsys):
    output = tmp_path / "refined"
    images, coarse = tree / "leftImg8bit" / "val", tree / "results"
    options = [f"images={images}", f"predictions={coarse}", f"output={output}", "data=cityscapes"]
    refine(*options, f"annotations={tree / 'gtFine' / 'val'}")
    said = capsys.readouterr().out
    assert "Boundary AP with dilation ratio 0.005" in said
    assert "note: data=NAME is not used, as images and predictions are given" in said
    before, after = read_predictions(coarse).entries, read_predictions(output).entries
    assert [{**e, "segmentation": 0} for e in before] == [{**e, "segmentation": 0} for e in after]
    assert any(b["segmentation"] != a["segmentation"] for b, a in zip(before, after, strict=True))
    assert official_scores(output, tree / "gtFine" / "val")["mean"][0] >= 0
    capsys.readouterr()
    assert evaluation([str(output), str(tree / "gtFine" / "val"), "--against", str(coarse)]) == 0
    assert re.findall(r"^\|.*", capsys.readouterr().out, re.M) == re.findall(r"^\|.*", said, re.M)
    assert bounds([str(coarse), str(tree / "gtFine" / "val"), "--distance", "--erode"]) == 0
    (boundary,) = re.findall(r"^\| Boundary AP  .*?([\d.]+)", said, re.M)
    assert re.search(rf"^\| as predicted .* {boundary} \|$", capsys.readouterr().out, re.M)
    with pytest.raises(SystemExit, match="is not empty; give another `output`, or overwrite=true"):
        refine(*options)
    refine(*options, "overwrite=true")


def test_the_official_script_and_ours_agree_where_they_must(tree):
    """With perfect masks, large objects and no ignored regions both give 1; with the coarse ones both see errors."""
    truth, coarse = tree / "gtFine" / "val", tree / "results"
    scores = official_scores(coarse, truth)
    assert set(scores) >= {"person", "car", "bicycle"}
    ap, ap50 = scores["mean"]
    assert 0 < ap < ap50 <= 1
    perfect = tree / "perfect"
    for path in (truth / "toy").iterdir():
        ids, name = np.asarray(Image.open(path)), path.name.partition("_gtFine")[0]
        (perfect / name).mkdir(parents=True)
        with (perfect / f"{name}_pred.txt").open("w") as file:
            for value in np.unique(ids[ids >= 1000]):
                Image.fromarray((ids == value).astype(np.uint8)).save(perfect / name / f"{value}.png")
                file.write(f"{name}/{value}.png {value // 1000} 1.0\n")
    assert evaluate(perfect, truth, dilation_ratio=0.005).scores.mask.ap == pytest.approx(1)
    found = official_scores(perfect, truth)
    assert found["mean"][0] == pytest.approx(1)
    assert "mean" in format_official(found, scores)


def test_ground_truth_may_be_a_json_file_with_other_ids(tree, toy_coco, tmp_path):
    """As in instancesonly_filtered_gtFine_val.json: ids of its own, images named without their city folder."""
    content = json.loads(toy_coco.annotations.read_text())
    for image in content["images"]:
        image["file_name"] = f"toy_000000_{image['id']:06d}_leftImg8bit.png"
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    (tmp_path / "gt.json").write_text(json.dumps(content))
    ours = evaluate(tree / "results", tmp_path / "gt.json")
    assert ours.scores.mask.ap50 == evaluate(toy_coco.predictions, toy_coco.annotations).scores.mask.ap50


def test_an_image_without_predictions_is_named(tree):
    next((tree / "results").glob("*14_leftImg8bit_pred.txt")).unlink()
    with pytest.raises(FormatError, match=r"no \*_pred\.txt for 1 images"):
        official_scores(tree / "results", tree / "gtFine" / "val")


def test_json_lines_come_back_as_json_lines(toy_coco, tmp_path, refine):
    entries = json.loads(toy_coco.predictions.read_text())
    predictions = tmp_path / "coarse.jsonl.gz"
    predictions.write_bytes(gzip.compress("".join(json.dumps(e) + "\n" for e in entries).encode()))
    refine(f"images={toy_coco.images}", f"predictions={predictions}")
    lines = gzip.decompress((tmp_path / "run" / "refined.jsonl.gz").read_bytes()).decode().splitlines()
    kept = ("image_id", "category_id", "score", "note")
    assert [[json.loads(line)[k] for k in kept] for line in lines] == [[e[k] for k in kept] for e in entries]


def test_label_images_come_back_as_label_images(toy_coco, tmp_path, refine, capsys):
    coarse = json.loads(toy_coco.predictions.read_text())
    (tmp_path / "masks").mkdir()
    shown = 0  # a disc may hide another
    for image_id in {e["image_id"] for e in coarse}:
        masks = [rle.decode(e["segmentation"]) for e in coarse if e["image_id"] == image_id]
        labels = np.zeros(masks[0].shape, np.uint8)
        for value, mask in enumerate(masks, start=1):
            labels[mask] = value
        Image.fromarray(labels).save(tmp_path / "masks" / f"{image_id:012d}.png")
        shown += len(np.unique(labels)) - 1
    refine(f"images={toy_coco.images}", f"predictions={tmp_path / 'masks'}")
    assert f"4 images, {shown} instances" in capsys.readouterr().out
    for path in (tmp_path / "masks").iterdir():
        after = np.asarray(Image.open(tmp_path / "run" / "refined" / path.name))
        assert after.max() <= 3
        assert after.shape == np.asarray(Image.open(path)).shape


@pytest.fixture
def labels(toy_coco):
    """An annotation file as labelling tools write it: polygons, a crowd, a box; strings as ids."""
    content = json.loads(toy_coco.annotations.read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = f"label {number}"
        annotation["segmentation"] = trace(annotation["segmentation"])[0]
    content["annotations"][3]["iscrowd"] = 1
    content["annotations"][5]["segmentation"] = []
    path = toy_coco.root / "labels.json"
    path.write_text(json.dumps({"info": {"by": "a tool"}, **content}, indent=2))
    return path


def test_an_annotation_file_comes_back_as_one(toy_coco, tmp_path, refine, labels, capsys):
    output, given = tmp_path / "out.json", (f"images={toy_coco.images}", f"predictions={labels}")
    refine(*given, f"output={output}")
    said = capsys.readouterr().out
    assert "note: left as they are: 1 crowd region (iscrowd=1;" in said
    assert "refines them) and 1 annotation without a mask" in said
    assert "5 images, 13 instances" in said
    before, after = json.loads(labels.read_text()), json.loads(output.read_text())
    assert {**after, "annotations": 0} == {**before, "annotations": 0}
    assert [{**a, "segmentation": 0, "area": 0, "bbox": 0} for a in after["annotations"]] == [
        {**a, "segmentation": 0, "area": 0, "bbox": 0} for a in before["annotations"]
    ]
    changed = [a for a, b in zip(after["annotations"], before["annotations"], strict=True) if a != b]
    assert changed
    sizes = {image["id"]: (image["height"], image["width"]) for image in before["images"]}
    for annotation in changed:
        code = rle.from_segmentation(annotation["segmentation"], sizes[annotation["image_id"]])
        assert annotation["area"] == rle.area(code)
    refine(*given, f"output={tmp_path / 'thin.json'}", "polygon_tolerance=2")
    assert "note: IoU lost by writing" in capsys.readouterr().out
    assert (tmp_path / "thin.json").stat().st_size < output.stat().st_size


def test_an_annotation_file_may_also_be_the_ground_truth_and_is_not_written_over(toy_coco, tmp_path, refine, capsys):
    same = (f"images={toy_coco.images}", f"predictions={toy_coco.annotations}", f"annotations={toy_coco.annotations}")
    refine(*same, f"output={tmp_path / 'out.json'}")
    assert "Boundary AP" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"instances\.json: is the input"):
        refine(*same, f"output={toy_coco.annotations}", "overwrite=true")


def test_labels_that_the_network_leaves_as_they_are_come_back_byte_for_byte(toy_coco, tmp_path, labels):
    run = runpy.run_path(str(Path(__file__).with_name("identity_run.py")))
    run["refine_identity"](toy_coco.images, labels, tmp_path / "out.json")
    assert (tmp_path / "out.json").read_bytes() == labels.read_bytes()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def outlines(toy):
    """Of each image name the polygons of its coarse masks, (n, 2) x, y, px, and the (h, w) of the image."""
    found = {}
    for entry in json.loads(toy.predictions.read_text()):
        points = np.reshape(trace_joined(entry["segmentation"])[0], (-1, 2))
        found.setdefault(f"{entry['image_id']:012d}", []).append((points, entry["segmentation"]["size"]))
    return found


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def count_of_changed_masks(printed):
    return int(re.search(r"\((\d+) masks? changed\)", printed)[1])


def test_a_folder_of_yolo_labels_comes_back_as_one(toy_coco, tmp_path, refine, capsys):
    folder, output = tmp_path / "labels", tmp_path / "out"
    folder.mkdir()
    for name, polygons in outlines(toy_coco).items():
        rows = [
            f"{n % 2} " + " ".join(f"{value:.7f}" for value in (points / (width, height)).ravel()) + " 0.90" * (n == 1)
            for n, (points, (height, width)) in enumerate(polygons)
        ]
        text = "\r\n".join([rows[0], "1 0.5 0.50 0.1 0.1", "", "0 0.1 0.2", *rows[1:]])
        (folder / f"{name}.txt").write_bytes(text.encode())
    for name, text in {"000000000014.txt": "", "classes.txt": "a\nb\n", "data.yaml": "names: [a, b]\n"}.items():
        (folder / name).write_text(text)
    truncate(toy_coco.images / "000000000012.png")
    refine(f"images={toy_coco.images}", f"predictions={folder}", f"output={output}", "on_error=keep")
    printed = capsys.readouterr().out
    assert "note: left as they are: 4 rows that are boxes" in printed
    assert "  left: 3 x the image cannot be decoded" in printed
    assert "  left: 4 x the mask cannot be read" in printed
    assert "16 instances" in printed
    before, after = contents(folder), contents(output)
    assert after.keys() == before.keys()
    changed = set()
    for name in before:
        lines = [content[name].splitlines(keepends=True) for content in (before, after)]
        for number, (old, new) in enumerate(zip(*lines, strict=True)):
            if old != new:
                changed.add((name, number))
                assert new.split()[0] == old.split()[0]
                assert (new.split()[-1] == b"0.90") == (old.split()[-1] == b"0.90")
                assert new.endswith(b"\r\n") == old.endswith(b"\r\n")
    assert changed
    assert changed <= {(f"{n:012d}.txt", line) for n in (10, 11, 13) for line in (0, 4, 5)}
    assert len(changed) <= count_of_changed_masks(printed)
    given = read_input(toy_coco.images, output, on_error=OnError.keep)
    assert len(given.predictions.entries) == 12
    assert all(rle.area(entry["segmentation"]) for entry in given.predictions.entries)
    with pytest.raises(SystemExit, match=r"000000000010\.txt, line 4: .*; or give on_error=keep"):
        refine(f"images={toy_coco.images}", f"predictions={folder}", f"output={tmp_path / 'other'}")


def test_a_folder_of_labelme_files_comes_back_as_one(toy_coco, tmp_path, refine, capsys):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, polygons in outlines(toy_coco).items():
        kept = {"group_id": None, "flags": {"ü": 1.50}}
        shapes = [
            {"label": "a", "points": points.tolist(), "shape_type": "polygon", **kept} for points, _size in polygons
        ]
        shapes.insert(1, {"label": "a", "points": [[1, 2], [30, 40]], "shape_type": "rectangle", **kept})
        shapes.insert(3, {"label": "a", "points": [[1, 2], [30, 40]], "shape_type": "polygon", **kept})
        content = {"shapes": shapes, "imagePath": f"..\\images\\{name}.png", "imageData": None}
        size = dict(zip(("imageHeight", "imageWidth"), polygons[0][1], strict=True))
        (folder / f"{name}.json").write_text(json.dumps({**content, **size}, indent=3, ensure_ascii=False))
    (folder / "other.json").write_text("[1.50]")
    (folder / "cut.json").write_text('{"shapes": [{')
    (toy_coco.images / "000000000012.png").unlink()
    refine(f"images={toy_coco.images}", f"predictions={folder}", f"output={output}", "on_error=keep")
    printed = capsys.readouterr().out
    assert "note: left as they are: 4 x rectangle" in printed
    assert "  left: 4 x the image is missing" in printed
    assert "  left: 4 x the mask cannot be read" in printed
    before, after = contents(folder), contents(output)
    assert after.keys() == before.keys()
    changed = set()
    for name in sorted(before.keys() - {"cut.json", "other.json"}):
        old, new = json.loads(before[name]), json.loads(after[name])
        for number, shapes in enumerate(zip(old["shapes"], new["shapes"], strict=True)):
            if shapes[0] != shapes[1]:
                changed.add((name, number))
                assert [*shapes[1]] == [*shapes[0]]
                assert {**shapes[1], "points": 0} == {**shapes[0], "points": 0}
        assert {**new, "shapes": 0} == {**old, "shapes": 0}
        if old == new:
            assert after[name] == before[name]
    assert [after[name] == before[name] for name in ("cut.json", "other.json", "000000000012.json")] == [True] * 3
    assert changed
    assert changed <= {(f"{n:012d}.json", shape) for n in (10, 11, 13) for shape in (0, 2, 4)}
    assert len(changed) <= count_of_changed_masks(printed)
    given = read_input(toy_coco.images, output, on_error=OnError.keep)
    assert len(given.predictions.entries) == 9
    assert all(rle.area(entry["segmentation"]) for entry in given.predictions.entries)


def test_a_voc_folder_keeps_its_palette_and_its_void(toy_coco, tmp_path, refine, capsys):
    """SegmentationObject: objects from 1 on, with outlines of 255, as palette images."""
    folder, palette = tmp_path / "VOC" / "SegmentationObject", [n * 5 % 256 for n in range(768)]
    folder.mkdir(parents=True)
    for entry in json.loads(toy_coco.predictions.read_text())[::3]:
        mask = rle.decode(entry["segmentation"])
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        image = Image.fromarray(np.where(mask, 1, np.where(grown, 255, 0)).astype(np.uint8))
        image.putpalette(palette)
        image.save(folder / f"{entry['image_id']:012d}.png")
    given = f"images={toy_coco.images}", f"predictions={folder}"
    refine(*given, f"output={tmp_path / 'out'}", "ignore_label=255")
    assert "4 images, 4 instances" in capsys.readouterr().out
    changed = 0
    for path in folder.iterdir():
        with Image.open(path) as before, Image.open(tmp_path / "out" / path.name) as after:
            assert (after.mode, after.getpalette()) == ("P", palette)
            assert np.array_equal(np.asarray(before) == 255, np.asarray(after) == 255)
            changed += not np.array_equal(np.asarray(before), np.asarray(after))
    assert changed
    refine(*given, f"output={tmp_path / 'other'}")
    said = capsys.readouterr().out
    assert "8 instances" in said
    assert "if it is void, as in PASCAL VOC, give ignore_label=255" in said


def test_masks_beside_their_images_do_not_replace_them(toy_coco, tmp_path, refine):
    """A folder of masks named like the images, written to the folder of the images."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for entry in json.loads(toy_coco.predictions.read_text())[::3]:
        mask = rle.decode(entry["segmentation"]).astype(np.uint8)
        Image.fromarray(mask).save(masks / f"{entry['image_id']:012d}.png")
    before = {path: path.read_bytes() for path in toy_coco.images.iterdir()}
    for output in (toy_coco.images, toy_coco.root):
        with pytest.raises(SystemExit, match="images"):
            refine(f"images={toy_coco.images}", f"predictions={masks}", f"output={output}", "overwrite=true")
    assert {path: path.read_bytes() for path in toy_coco.images.iterdir()} == before
