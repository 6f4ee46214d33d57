"""Bad entries and images under ``on_error``: what stops a run, and what is left as it came."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.data.inputs import read_input
from bpr.formats.errors import FormatError
from bpr.refine.summary import RefinementSummary, format_kept
from bpr.structures import OnError

ROOT = Path(__file__).parents[2]
SPOILT = {
    "two points": ({"segmentation": [[1, 2, 3, 4]]}, "the mask cannot be read"),
    "odd": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "the mask cannot be read"),
    "broken RLE": ({"segmentation": {"size": [120, 160], "counts": "~~"}}, "the mask cannot be read"),
    "short RLE": ({"segmentation": {"size": [120, 160], "counts": [5, 5]}}, "the mask cannot be read"),
    "another size": ({"segmentation": {"size": [5, 5], "counts": [25]}}, "the mask has another size than its image"),
    "no mask": ({"segmentation": None}, "there is no mask"),
    "image id": ({"image_id": 77}, "the image id is unknown"),
    "score": ({"score": "high"}, "a field is missing or wrong"),
}
TRUNCATED, MISSING, RESIZED = 11, 12, 13


@pytest.fixture
def spoil(toy_coco):
    """A function that changes entry 1 of the toy predictions; gives all entries."""

    def change(fields, remove=()):
        entries = json.loads(toy_coco.predictions.read_text())
        entries[1] = {name: value for name, value in (entries[1] | fields).items() if name not in remove}
        toy_coco.predictions.write_text(json.dumps(entries))
        return entries

    return change


def image_file(toy, image_id):
    return toy.images / f"{image_id:012d}.png"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def spoilt(toy_coco, spoil):
    """A bad entry of image 10, and one bad image of each kind."""
    entries = spoil({"segmentation": [[1, 2, 3, 4]]})
    truncate(image_file(toy_coco, TRUNCATED))
    image_file(toy_coco, MISSING).unlink()
    Image.new("RGB", (50, 50)).save(image_file(toy_coco, RESIZED))
    return entries


def given_settings(toy, folder, *more):
    given = [f"images={toy.images}", f"predictions={toy.predictions}", f"annotations={toy.annotations}"]
    return [*given, f"output={folder / 'refined.json'}", *more]


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_entry_stops_or_is_kept_with_its_reason(toy_coco, spoil, kind, annotated):
    fields, reason = SPOILT[kind]
    spoil(fields)
    paths = toy_coco.images, toy_coco.predictions, toy_coco.annotations if annotated else None
    with pytest.raises(FormatError, match=r"coarse\.json, entry 1: .*; or give on_error=keep, which leaves"):
        read_input(*paths, on_error=OnError.stop)
    with pytest.raises(FormatError) as plain:
        read_input(*paths)
    assert "on_error" not in str(plain.value)
    given = read_input(*paths, on_error=OnError.keep)
    (fault,) = given.faults
    assert (fault.reason, fault.place, fault.masks) == (reason, f"{toy_coco.predictions}, entry 1", 1)
    positions = [instance.position for record in given.records for instance in record.instances]
    assert positions == [n for n in range(12) if n != 1]


@pytest.mark.parametrize("name", ["image_id", "segmentation"])
@pytest.mark.parametrize("lines", [False, True])
def test_an_entry_without_a_field_comes_back_as_it_is(toy_coco, spoil, refine, tmp_path, name, lines, capsys):
    entries = spoil({}, remove=[name])
    predictions = toy_coco.predictions
    if lines:
        predictions = predictions.with_suffix(".jsonl")
        predictions.write_text("\n\n".join(map(json.dumps, entries)))
    output = tmp_path / f"refined{predictions.suffix}"
    given = f"images={toy_coco.images}", f"predictions={predictions}", f"output={output}"
    refine(*given, "rounds=[boundary]", "on_error=keep")
    text = output.read_text()
    refined = list(map(json.loads, text.splitlines())) if lines else json.loads(text)
    assert refined[1] == entries[1]
    assert [{**e, "bbox": 0, "segmentation": 0} for e in refined if e != entries[1]] == [
        {**e, "bbox": 0, "segmentation": 0} for e in entries if e != entries[1]
    ]
    assert refined != entries
    assert "WARNING: NOT refined: 1 mask;" in capsys.readouterr().out


def test_lines_of_json_lines_are_named_by_their_number(toy_coco, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"score": 1}\n\n{"image_id": 10}\n')
    given = read_input(toy_coco.images, path, on_error=OnError.keep)
    assert [(fault.place, fault.position) for fault in given.faults] == [(f"{path}, line 1", 0), (f"{path}, line 3", 1)]


@pytest.mark.parametrize("content", ['[{"image_id": 10', '{"a": 10}', "[1, 2"])
def test_a_file_that_is_no_list_stops_in_any_case(toy_coco, content):
    toy_coco.predictions.write_text(content)
    with pytest.raises(FormatError):
        read_input(toy_coco.images, toy_coco.predictions, on_error=OnError.keep)


def test_bad_entries_and_images_come_back_as_they_are(toy_coco, spoilt, refine, tmp_path, capsys):
    refine(*given_settings(toy_coco, tmp_path, "on_error=keep", "report=true", "contact_sheet=true"))
    refined = json.loads((tmp_path / "refined.json").read_text())
    assert [refined[1], *refined[3:]] == [spoilt[1], *spoilt[3:]]
    assert refined[0] != spoilt[0]
    printed, page = capsys.readouterr().out, (tmp_path / "refined.html").read_text()
    assert "12 instances: 2 refined" in printed
    assert "10 left as they are" in printed
    for count, reason, place in (
        (1, "the mask cannot be read", f"{toy_coco.predictions}, entry 1"),
        (3, "the image cannot be decoded", image_file(toy_coco, TRUNCATED)),
        (3, "the image is missing", image_file(toy_coco, MISSING)),
        (3, "the image has another size than its masks", image_file(toy_coco, RESIZED)),
    ):
        assert f"  left: {count} x {reason}\n" in printed
        assert f"\n  {count} x {reason}\n    {place}: " in printed
        assert f"<td>{reason}</td><td>{place}</td>" in page
    last = printed[printed.index("WARNING: NOT refined: 10 masks;") :]
    assert "refined masks" not in last, "something comes after the warning"
    assert "10 masks were not refined" in page
    unscored = "11 predictions\n1 bad prediction is not scored"
    assert unscored in printed
    assert unscored.split("\n")[1] in page


def test_images_that_are_bad_and_not_annotated_are_kept_too(toy_coco, spoilt, refine, tmp_path, capsys):
    given = given_settings(toy_coco, tmp_path, "on_error=keep", "report=true")
    refine(*(setting for setting in given if not setting.startswith("annotations=")))
    assert json.loads((tmp_path / "refined.json").read_text())[3:] == spoilt[3:]
    printed = capsys.readouterr().out
    assert "  left: 3 x the image id is unknown\n" in printed
    assert "  left: 4 x" not in printed


@pytest.mark.parametrize(
    ("image_id", "message"),
    [
        (TRUNCATED, r"11\.png: cannot be decoded .*on_error=keep"),
        (MISSING, r"12\.png: is missing.*needed by .*entry 6; or give on_error=keep"),
        (RESIZED, r"13\.png: is \(50, 50\).*on_error=keep"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_by_default_a_bad_image_stops(toy_coco, spoilt, refine, tmp_path, image_id, message, workers):
    entries = json.loads(toy_coco.predictions.read_text())
    toy_coco.predictions.write_text(json.dumps([entry for entry in entries if entry["image_id"] == image_id]))
    if image_id == MISSING:
        message = message.replace("entry 6", "entry 0")
    with pytest.raises(SystemExit, match=message):
        refine(*given_settings(toy_coco, tmp_path, f"num_workers={workers}"))
    assert not (tmp_path / "refined.json").exists()


def test_a_missing_image_stops_before_the_network_is_loaded(toy_coco, refine, tmp_path, monkeypatch):
    import bpr.refine.run as module

    image_file(toy_coco, MISSING).unlink()
    monkeypatch.setattr(module, "load_refiner", lambda *_: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match="is missing"):
        refine(*given_settings(toy_coco, tmp_path))


def test_a_run_of_nothing_but_bad_entries_writes_them(toy_coco, refine, tmp_path):
    entries = [{**entry, "segmentation": [[1]]} for entry in json.loads(toy_coco.predictions.read_text())]
    toy_coco.predictions.write_text(json.dumps(entries))
    refine(*given_settings(toy_coco, tmp_path, "on_error=keep", "report=true"))
    assert json.loads((tmp_path / "refined.json").read_text()) == entries


def test_several_processes_and_workers_keep_the_same(toy_coco, spoilt, tmp_path, weights, refine, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    given = [f"ckpt={weights}", "patch.size=32", "threads=1", "trainer.accelerator=cpu", "on_error=keep"]
    given += ["trainer.enable_progress_bar=false"]
    refine(*given_settings(toy_coco, tmp_path / "one", *given))
    command = [sys.executable, ROOT / "refine.py", *given_settings(toy_coco, tmp_path / "two", *given)]
    command += ["trainer.devices=2", "trainer.strategy=ddp", "num_workers=1", f"hydra.run.dir={tmp_path / 'two'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    warnings = [printed[printed.index("WARNING") :] for printed in (capsys.readouterr().out, done.stdout)]
    assert warnings[0] == warnings[1]
    assert "10 masks" in warnings[0]
    for name in ("one", "two"):
        refined = json.loads((tmp_path / name / "refined.json").read_text())
        assert [refined[1], *refined[3:]] == [spoilt[1], *spoilt[3:]]


def test_a_resumed_run_lists_the_same(repeated, toy_coco, spoilt):
    more = f"annotations={toy_coco.annotations}", "on_error=keep"
    whole = repeated.finished(*more).summary
    refined = repeated.output.read_bytes()
    repeated.output.unlink()
    repeated.interrupted(*more, after=2)
    resumed = repeated.finished(*more).summary
    assert resumed == whole
    assert {fault.reason for fault in whole.kept} >= {"the image cannot be decoded", "the image is missing"}
    assert repeated.output.read_bytes() == refined


def test_many_are_counted_and_some_listed():
    faults = [fault for n in range(9) for fault in read_fault(n)]
    text = format_kept(RefinementSummary(1, 9, 0, 0, 0, {}, tuple(faults)))
    assert "  9 x the mask cannot be read\n" in text
    assert text.count("r.json, entry") == 5
    assert text.endswith("and 4 more; report=true lists all")


def read_fault(number):
    from bpr.formats.faults import Fault

    return [Fault("the mask cannot be read", f"r.json, entry {number}", "is bad")]


class TestFormats:
    """Every other format that can have bad entries: the good ones are read, and all is written back."""

    def reads(self, toy, predictions, output, *reasons):
        with pytest.raises(FormatError, match="on_error=keep"):
            read_input(toy.images, predictions, on_error=OnError.stop)
        given = read_input(toy.images, predictions, on_error=OnError.keep)
        assert [(fault.reason, fault.masks) for fault in given.faults] == list(reasons)
        given.predictions.write(output, given.predictions.entries)
        return given

    @pytest.mark.parametrize("kind", [name for name in SPOILT if name != "no mask"])
    def test_coco_annotations(self, toy_coco, tmp_path, kind):
        fields, reason = SPOILT[kind]
        content = json.loads(toy_coco.annotations.read_text())
        content["annotations"][1] |= fields
        labels, output = tmp_path / "labels.json", tmp_path / "out.json"
        labels.write_text(json.dumps(content))
        given = self.reads(toy_coco, labels, output, (reason, 1))
        assert given.faults[0].place == f"{labels}, annotations[1]"
        assert len(given.predictions.entries) == len(content["annotations"]) - 1
        assert output.read_bytes() == labels.read_bytes()

    def test_cityscapes(self, toy_coco, tmp_path):
        images, folder, output = tmp_path / "images", tmp_path / "p", tmp_path / "out"
        images.mkdir()
        folder.mkdir()
        mask = np.zeros((20, 30), np.uint8)
        mask[5:15, 5:20] = 255
        Image.new("RGB", (30, 20)).save(images / "ulm_000000_000001_leftImg8bit.png")
        Image.fromarray(mask[:9, :9]).save(folder / "small.png")
        for name in ("good.png", "label.png", "damaged.png", "last.png"):
            Image.fromarray(mask).save(folder / name)
        truncate(folder / "damaged.png")
        (folder / "a.txt").write_text("no prediction")
        lines = ["small.png 26 0.5", "good.png 26 0.9", "label.png 99 0.8", "gone.png 26 0.7", "damaged.png 26 0.6"]
        lines += ["one two", "../outside.png 26 0.5", "last.png 26 0.1"]
        text = "".join(line + "\n" for line in lines)
        (folder / "ulm_000000_000001_pred.txt").write_text(text)
        toy_coco = type(toy_coco)(tmp_path, images, None, None)
        reasons = ["a field is missing or wrong", "there is no mask", "the mask cannot be read"]
        reasons += ["a field is missing or wrong", "there is no mask", "the mask has another size than its image"]
        given = self.reads(toy_coco, folder, output, *((reason, 1) for reason in reasons))
        assert [entry["mask_file"] for entry in given.predictions.entries] == ["small.png", "good.png", "last.png"]
        assert given.faults[1].place == f"{folder / 'ulm_000000_000001_pred.txt'}, line 4"
        assert (output / "ulm_000000_000001_pred.txt").read_text() == text
        for name in ("label.png", "damaged.png"):
            assert (output / name).read_bytes() == (folder / name).read_bytes()
        assert np.array_equal(np.asarray(Image.open(output / "small.png")), mask[:9, :9])
        assert not (tmp_path / "outside.png").exists()

    def test_panoptic(self, toy_coco, tmp_path):
        folder, output = tmp_path / "p", tmp_path / "out.json"
        folder.mkdir()
        annotations = []
        for image_id in (10, 11, 12):
            ids = np.zeros(Image.open(image_file(toy_coco, image_id)).size[::-1], np.uint8)
            ids[30:60, 30:60] = 1
            Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], 2)).save(folder / f"{image_id}.png")
            segments = [{"id": n, "category_id": 1, "area": 900, "bbox": [30, 30, 30, 30]} for n in (1, 2)]
            annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments})
        truncate(folder / "11.png")
        (folder / "12.png").unlink()
        content = {"annotations": annotations, "categories": [{"id": 1, "name": "disc", "isthing": 1}]}
        folder.with_suffix(".json").write_text(json.dumps(content))
        unread = ("the mask cannot be read", 2)
        given = self.reads(toy_coco, folder.with_suffix(".json"), output, ("there is no mask", 1), unread, unread)
        assert len(given.predictions.entries) == 1
        assert json.loads(output.read_text()) == content
        assert (tmp_path / "out" / "11.png").read_bytes() == (folder / "11.png").read_bytes()

    def test_mask_images(self, toy_coco, tmp_path):
        folder, output = tmp_path / "p", tmp_path / "out"
        folder.mkdir()
        labels = np.zeros((120, 160), np.uint8)
        labels[30:60, 30:60] = 7
        names = ["000000000010.png", "000000000011_0.png", "000000000012_0.png", "stranger.png"]
        for name in names:
            Image.fromarray(labels).save(folder / name)
        truncate(folder / names[2])
        reasons = [("the mask cannot be read", 1), ("the image id is unknown", 1)]
        reasons += [("the mask has another size than its image", 1)]
        given = self.reads(toy_coco, folder, output, *reasons)
        assert [entry["mask_file"] for entry in given.predictions.entries] == names[:2]
        for name in names[2:]:
            assert (output / name).read_bytes() == (folder / name).read_bytes()
        assert np.array_equal(np.asarray(Image.open(output / names[1])), labels)


def test_masks_of_missing_images_are_scored_where_they_are_annotated(toy_coco, refine, tmp_path, capsys):
    refine(*given_settings(toy_coco, tmp_path, "rounds=[boundary]"))
    before = [line.split("|")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    shutil.rmtree(toy_coco.images)
    toy_coco.images.mkdir()
    refine(*given_settings(toy_coco, tmp_path, "on_error=keep", "overwrite=true"))
    printed = capsys.readouterr().out
    assert [line.split("|")[2] for line in printed.splitlines() if line.startswith("| ")] == before
    assert "not scored" not in printed
    assert rle.area(json.loads((tmp_path / "refined.json").read_text())[0]["segmentation"]) > 0
