"""A file or folder of predictions in each format, with two kinds of masks or more in each."""

import base64
import gzip
import io
import json

import numpy as np
from PIL import Image

from bpr import rle
from bpr.formats.polygons import trace

SIZE = (20, 30)
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
        save(folder / "p" / "one" / name / "7.png", rectangle(number))
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


def make_gzipped_annotations(folder, names):
    path = make_coco_annotations(folder, names)
    path.with_name("r.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return path.with_name("r.json.gz")


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
