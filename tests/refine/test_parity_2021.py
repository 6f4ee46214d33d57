"""The whole pipeline with `compat_2021` beside a second, plain implementation of the reference's description.

The description is in ``shared/golden/README.md``. What is below works on full images, one patch at a time, with
torchvision's NMS; the network itself is compared with the reference's own logits in ``test_weights.py``.
"""

import json

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn.functional import avg_pool2d, interpolate
from torchvision.ops import nms

from bpr.models.weights import load_segmenter
from bpr.structures import PatchSpec

IMAGES = 3


def plain_boxes(mask, spec):
    height, width = mask.shape
    total = avg_pool2d(torch.from_numpy(mask)[None, None].double(), 3, 1, 1, count_include_pad=True)[0, 0] * 9
    scores = torch.minimum((total - 9).abs(), total.abs()).round() / 4.5
    ys, xs = torch.nonzero(scores > 0, as_tuple=True)
    half = spec.size // 2
    boxes = torch.stack([xs - half, ys - half, xs + half, ys + half], 1).float()
    kept = boxes[nms(boxes, scores[ys, xs].float(), spec.nms_iou)].long()
    for row in kept:
        for axis, side in ((0, width), (1, height)):
            if row[axis] < 0:
                row[axis], row[axis + 2] = 0, spec.size
            if row[axis + 2] >= side:
                row[axis], row[axis + 2] = side - 1 - spec.size, side - 1
    return kept.tolist()


@torch.inference_mode()
def plain_refinement(image, mask, segmenter, spec):
    if min(mask.shape) <= spec.size:
        return mask
    # Two patches of a saturated network that contradict each other sum to 1 up to the last bit of a float32:
    # the type of the sum decides such pixels, and the reference's is float32.
    total, count = np.zeros((2, *mask.shape), np.float32)
    for x1, y1, x2, y2 in plain_boxes(mask, spec):
        crop = torch.from_numpy(image[y1:y2, x1:x2].copy()).permute(2, 0, 1)[None]
        logits = segmenter(crop, torch.from_numpy(mask[y1:y2, x1:x2].copy())[None])
        foreground = interpolate(logits, (spec.size, spec.size), mode="bilinear").softmax(1)[0, 1].numpy()
        total[y1:y2, x1:x2] += foreground
        count[y1:y2, x1:x2] += 1
    return np.where(count > 0, total / np.maximum(count, 1) > 0.5, mask)


def test_refined_masks_equal_those_of_a_plain_implementation(shared_dir, released, tmp_path, refine):
    folder = shared_dir / "data" / "coco_val"
    annotated = json.loads((folder / "instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in annotated["images"]}
    coarse = json.loads((folder / "coarse_yolov5n_seg.json").read_text())
    per_image = {i: [e for e in coarse if e["image_id"] == i] for i in names}
    chosen = sorted((i for i in names if per_image[i]), key=lambda i: (len(per_image[i]) != 3, i))[:IMAGES]
    entries = [entry for i in chosen for entry in per_image[i]]
    predictions, output = tmp_path / "coarse.json", tmp_path / "refined.json"
    predictions.write_text(json.dumps(entries))
    weights = released("hrnet18s_128")
    refine(
        f"images={folder / 'images'}",
        f"predictions={predictions}",
        f"output={output}",
        f"ckpt={weights}",
        "patch.size=64",
        "patch.compat_2021=true",
    )
    segmenter, spec = load_segmenter(weights), PatchSpec(compat_2021=True)
    ious, changed = [], 0
    for entry, refined in zip(entries, json.loads(output.read_text()), strict=True):
        image = np.asarray(Image.open(folder / "images" / names[entry["image_id"]]).convert("RGB"))
        mask = coco_mask.decode(entry["segmentation"]).astype(bool)
        expected = plain_refinement(image, mask, segmenter, spec)
        ours = coco_mask.decode(refined["segmentation"]).astype(bool)
        ious.append((expected & ours).sum() / max((expected | ours).sum(), 1))
        changed += int((expected != mask).sum())
    assert changed > 1000  # the random network does not leave the masks as they are
    # Batches are summed in another order than single patches: a pixel at probability 1/2 may fall on either side.
    assert np.mean(ious) > 0.999
