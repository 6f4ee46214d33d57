"""What every format promises, whatever the names of its files are."""

import base64
import gzip
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.detection import FORMATS
from bpr.formats.errors import FormatError
from bpr.formats.polygons import trace
from bpr.formats.predictions import read_predictions

SIZE = (20, 30)
NAMES = ["plain", "Bär ä漢", "two  spaces", "quo'te\"s", "a..b", "-dash", "100%", "a#b&c"]
SIZES = dict.fromkeys(NAMES, SIZE)
OUTSIDE = ["../outside.png", "/tmp/outside.png", "x/../../outside.png"]
PALETTE = [n * 7 % 256 for n in range(768)]


def rectangle(number):
    mask = np.zeros(SIZE, np.bool_)
    mask[2 + number % 5 : 12, 3 : 20 - number % 7] = True
    return mask


def results(names):
    return [
        {
            "score": 0.5 + number / 100,  # not in the usual order
            "image_id": number,
            "segmentation": rle.encode(rectangle(number)),
            "category_id": 3,
            "file_name": f"{name}.jpg",
            "mask_file": f"../{name}.png",
            "value": [number, None],
            "漢": {"nested": True},
        }
        for number, name in enumerate(names)
    ]


def make_coco(folder, names):
    (folder / "r.json").write_text(json.dumps(results(names)))
    return folder / "r.json"


def make_json_lines(folder, names):
    (folder / "r.jsonl.gz").write_bytes(gzip.compress("\n\n".join(map(json.dumps, results(names))).encode()))
    return folder / "r.jsonl.gz"


def make_cityscapes(folder, names):
    lines = []
    for number, name in enumerate(names):
        mask = f"masks/{name.replace(' ', '_')}.png"  # the layout separates by spaces
        save(folder / "p" / mask, rectangle(number).astype(np.uint8))
        lines.append(f"{mask} 26 0.5{number}00\n")
    (folder / "p" / "ulm_000000_000001_pred.txt").write_text("".join(lines))
    (folder / "p" / "ulm_000000_000002_pred.txt").write_text("")
    return folder / "p"


def make_masks(folder, names):
    for number, name in enumerate(names):
        labels = rectangle(number) * np.uint8(9)
        labels[15:, 20:] = 200
        save(folder / "p" / "labels" / f"{name}.png", labels, PALETTE)
        save(folder / "p" / "one" / name / "0.png", rectangle(number))
    return folder / "p"


def make_coco_annotations(folder, names):
    """Polygons, compressed and uncompressed RLE in turn, a crowd and a box after each; spacing is kept."""
    annotations = []
    for number, name in enumerate(names):
        code = rle.encode(rectangle(number))
        kinds = [
            trace(code)[0],
            {**code, "counts": rle.uncompressed_counts(code)},
            code,
        ]
        one = {
            "id": f"x{number}",
            "image_id": number,
            "iscrowd": 0,
            "bbox": [0.10, 1e2, 0, 0],
            "attributes": {"漢": name},
        }
        annotations.append({**one, "segmentation": kinds[number % 3]})
        annotations.append({**one, "segmentation": code, "iscrowd": 1})
        annotations.append({**one, "category_id": 3, "segmentation": []})
    images = [{"height": 20, "width": 30, "file_name": f"{name}.jpg", "id": n} for n, name in enumerate(names)]
    content = {"info": {"y": 1.50}, "annotations": annotations, "images": images, "categories": [], "z": None}
    (folder / "r.json").write_text(json.dumps(content, indent=1).replace("100.0", "1e2"))
    return folder / "r.json"


def make_gzipped_annotations(folder, names):
    path = make_coco_annotations(folder, names)
    path.with_name("r.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return path.with_name("r.json.gz")


def make_panoptic(folder, names):
    annotations = []
    for number, name in enumerate(names):
        ids = rectangle(number) * 70000 + ~rectangle(number) * 5
        save(folder / "p" / f"{name}.png", np.stack([ids % 256, ids // 256 % 256, ids // 65536], 2).astype(np.uint8))
        segments = [{"id": 70000, "category_id": 1, "score": 0.25, "x": name}, {"id": 5, "category_id": 2}]
        annotations.append({"file_name": f"{name}.png", "image_id": number, "segments_info": segments, "y": [1]})
    categories = [{"id": 1, "isthing": 1, "name": "ä"}, {"id": 2, "isthing": 0}]
    (folder / "p.json").write_text(json.dumps({"z": 1, "categories": categories, "annotations": annotations}))
    return folder / "p.json"


def make_yolo(folder, names):
    """A polygon, a box and a polygon with confidence in each file; Windows' line breaks, no last one, other files."""
    (folder / "p" / "train").mkdir(parents=True)
    for number, name in enumerate(names):
        polygon = " ".join(
            f"{value / SIZE[1 - n % 2]:g}" for n, value in enumerate(trace(rle.encode(rectangle(number)))[0][0])
        )
        rows = f"3 {polygon}\r\n\r\n3 0.5 0.5 0.10 0.2\r\n 07  {polygon} 0.50"
        (folder / "p" / "train" / f"{name}.txt").write_bytes(rows.encode())
    (folder / "p" / "empty.txt").write_text("\n")
    (folder / "p" / "classes.txt").write_text("person\n")
    (folder / "p" / "data.yaml").write_text("names: {3: bär}\n")
    return folder / "p"


def make_labelme(folder, names):
    """A polygon, a rectangle and a mask in each file; spacing is kept."""
    (folder / "p" / "train").mkdir(parents=True)
    for number, name in enumerate(names):
        code = rle.encode(rectangle(number))
        x1, y1, x2, y2 = rle.bounding_box(code)
        buffer = io.BytesIO()
        Image.fromarray(rectangle(number)[y1:y2, x1:x2]).save(buffer, "PNG")
        mask = base64.b64encode(buffer.getvalue()).decode()
        points = np.reshape(trace(code)[0][0], (-1, 2)).tolist()
        kept = {"group_id": None, "flags": {"ü": True}, "description": "漢"}
        shapes = [
            {"label": name, "points": points, **kept, "shape_type": "polygon", "more": 1.50},
            {"label": name, "points": [[0, 0], [5, 5]], **kept, "shape_type": "rectangle"},
            {"mask": mask, "label": "b", "points": [[x1, y1], [x2 - 1, y2 - 1]], **kept, "shape_type": "mask"},
        ]
        content = {
            "version": "6",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\images\\{name}.jpg",
            "imageData": None,
        }
        size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1] if number else None}
        text = json.dumps({**content, **size, "z": [1]}, ensure_ascii=False, indent=2)
        (folder / "p" / "train" / f"{name}.json").write_text(text)
    return folder / "p"


def make_sam(folder, names):
    """Compressed and uncompressed RLE in each file; spacing is kept."""
    (folder / "p" / "train").mkdir(parents=True)
    for number, name in enumerate(names):
        code = rle.encode(rectangle(number))
        one = {"id": 7, "bbox": [0.10, 1, 2, 3], "predicted_iou": 0.5 + number / 100, "area": 3, "漢": name}
        runs = {**code, "counts": rle.uncompressed_counts(code)}
        annotations = [{**one, "segmentation": code}, {"segmentation": runs, "crop_box": [0, 0, 30, 20]}]
        image = {"image_id": number, "width": 30, "height": 20, "file_name": f"{name}.jpg"}
        text = json.dumps({"x": 1.50, "image": image, "annotations": annotations, "z": None}, indent=1)
        (folder / "p" / "train" / f"{name}.json").write_text(text)
    return folder / "p"


def make_sam_lists(folder, names):
    """The lists that SAM's ``amg.py`` writes, one of them empty."""
    (folder / "p").mkdir()
    for number, name in enumerate(names):
        code = rle.encode(rectangle(number))
        one = {"segmentation": code, "area": 3.0, "bbox": [0.10, 1, 2, 3], "predicted_iou": 0.5 + number / 100}
        runs = {**code, "counts": rle.uncompressed_counts(code)}
        text = json.dumps([one, {**one, "segmentation": runs, "crop_box": [0, 0, 30, 20]}], indent=number % 2 or None)
        (folder / "p" / f"{name}.json").write_text(text)
    (folder / "p" / "nothing.json").write_text("[]")
    return folder / "p"


def make_sam_folders(folder, names):
    """The folders of PNGs that SAM's ``amg.py`` writes."""
    for number, name in enumerate(names):
        save(folder / "p" / name / "0.png", rectangle(number) * np.uint8(255))
        save(folder / "p" / name / "1.png", rectangle(number + 1) * np.uint8(255))
        rows = "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,predicted_iou\n0,3,0.1,1,2,3,0.75\n1,4,0,0,1,1,0.5"
        (folder / "p" / name / "metadata.csv").write_text(rows)
    return folder / "p"


MAKE = {
    "coco": make_coco,
    "jsonl": make_json_lines,
    "coco_annotations": make_coco_annotations,
    "cityscapes": make_cityscapes,
    "masks": make_masks,
    "panoptic": make_panoptic,
    "yolo": make_yolo,
    "labelme": make_labelme,
    "sam": make_sam,
    "coco_annotations, gzipped": make_gzipped_annotations,
    "sam, lists": make_sam_lists,
    "masks, of SAM": make_sam_folders,
}
"""By format, and what variant of it."""


def save(path, values, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", MAKE)
class TestFormat:
    @pytest.fixture
    def source(self, tmp_path, name):
        (tmp_path / "source").mkdir()
        return MAKE[name](tmp_path / "source", NAMES)

    def read(self, path):
        return read_predictions(path, image_sizes=lambda: SIZES)

    def write(self, predictions, folder, entries=None):
        """Write the predictions to a file or folder of the same name in ``folder``."""
        predictions.write(folder / predictions.path.name, iter(predictions.entries if entries is None else entries))
        return folder / predictions.path.name

    def test_its_content_is_enough_to_know_it(self, source, name):
        assert self.read(source).format.name == name.split(",")[0]

    def test_what_was_written_is_what_was_read(self, source, tmp_path):
        before = self.read(source)
        after = self.read(self.write(before, tmp_path / "out"))
        assert len(before.entries) >= len(NAMES)
        assert list(after.entries) == list(before.entries)
        assert [list(entry) for entry in after.entries] == [list(entry) for entry in before.entries]

    def test_writing_again_gives_the_same_files(self, source, tmp_path):
        once = self.write(self.read(source), tmp_path / "once")
        self.write(self.read(once), tmp_path / "twice")
        first, second = contents(tmp_path / "once"), contents(tmp_path / "twice")
        assert first.keys() == second.keys() == contents(source.parent).keys()
        if once.suffix != ".gz":  # which holds the time
            assert first == second

    def test_other_masks_are_written_and_all_else_is_kept(self, source, tmp_path):
        before = self.read(source)
        moved = rle.encode(np.roll(rectangle(0), 1, axis=0))
        changed = [{**entry, "segmentation": moved} if n == 2 else entry for n, entry in enumerate(before.entries)]
        after = self.read(self.write(before, tmp_path / "out", changed))
        assert after.entries[2]["segmentation"] == moved
        assert [{**entry, "segmentation": 0} for entry in after.entries] == [
            {**entry, "segmentation": 0} for entry in before.entries
        ]

    def test_the_source_stays_as_it_is_and_nothing_else_is_written(self, source, tmp_path):
        before = contents(tmp_path / "source")
        self.write(self.read(source), tmp_path / "out")
        assert contents(tmp_path / "source") == before
        assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}

    def test_its_files_are_all_that_belong_to_it(self, source, tmp_path):
        (tmp_path / "source" / "other.txt").write_text("not of it")
        expected = {path for path in source.parent.rglob("*") if path.is_file()} - {tmp_path / "source" / "other.txt"}
        files = self.read(source).files()
        assert set(files) == expected
        assert files == sorted(files)

    def test_each_entry_is_in_one_of_its_files(self, source):
        predictions = self.read(source)
        places = [predictions.place(number) for number in range(len(predictions.entries))]
        assert {path for path, _ in places} <= set(predictions.files())
        assert len({predictions.named_place(number) for number in range(len(places))}) == len(places)

    def test_its_masks_are_those_of_the_image(self, source):
        predictions = self.read(source)
        for number, entry in enumerate(predictions.entries):
            assert rle.decode(predictions.rle(number, entry, SIZE)).any()
            with pytest.raises(FormatError, match=r"\(20, 30\)"):
                predictions.rle(number, entry, (30, 20))

    def test_processes_may_be_given_it(self, source):
        predictions = self.read(source)
        assert list(pickle.loads(pickle.dumps(predictions)).entries) == list(predictions.entries)

    def test_a_missing_file_is_named(self, source, name, tmp_path):
        with pytest.raises(FormatError, match="nowhere"):
            read_predictions(tmp_path / "nowhere.json", name.split(",")[0], lambda: SIZES)


def test_every_format_is_tried():
    assert {name.split(",")[0] for name in MAKE} == {*FORMATS}


def test_palettes_are_kept(tmp_path):
    predictions = read_predictions(make_masks(tmp_path, NAMES), image_sizes=lambda: SIZES)
    predictions.write(tmp_path / "out", predictions.entries)
    for name in NAMES:
        with Image.open(tmp_path / "out" / "labels" / f"{name}.png") as image:
            assert image.getpalette() == PALETTE


@pytest.mark.parametrize("outside", OUTSIDE)
def test_cityscapes_and_panoptic_files_name_no_file_outside_of_their_folder(tmp_path, outside):
    save(tmp_path / "outside.png", rectangle(0))
    path = make_cityscapes(tmp_path, ["a"]) / "ulm_000000_000001_pred.txt"
    path.write_text(f"{outside} 26 0.5\n")
    with pytest.raises(FormatError, match=r"_pred\.txt, line 1: .*outside\.png (is an absolute path|leads out)"):
        read_predictions(path.parent)
    path = make_panoptic(tmp_path, ["a"])
    path.write_text(path.read_text().replace("a.png", outside))
    with pytest.raises(FormatError, match=r"p\.json, annotations\[0\]: .*outside\.png (is an absolute path|leads out)"):
        read_predictions(path)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_results_file_keeps_a_name_that_it_does_not_write_to(tmp_path, outside):
    (tmp_path / "r.json").write_text(json.dumps([{**results(["a"])[0], "file_name": outside}]))
    predictions = read_predictions(tmp_path / "r.json")
    predictions.write(tmp_path / "out.json", predictions.entries)
    assert json.loads((tmp_path / "out.json").read_text())[0]["file_name"] == outside
    assert not Path("/tmp/outside.png").exists()
