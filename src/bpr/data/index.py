"""All boundary patches of a training set, found once and kept in one compact file."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bpr import rle
from bpr.formats.files import replacing
from bpr.matching import best_truths
from bpr.patches.cutting import place_patches
from bpr.patches.windows import MaskWindow
from bpr.structures import ImageRecord, PatchSpec, Round

LAYOUT: Final = "patch-index-3"
"""Part of the digest: changed whenever the same input would give another index."""


@dataclass(frozen=True, slots=True)
class PatchIndex:
    """Boundary patches of matched predictions, in the order of the records.

    The instance table has a row for each round of each matched prediction.

    Attributes:
        corners: (p, 2) int32, ``x1, y1`` of each patch, image px.
        instance: (p,) int32, row of the instance table below, not decreasing.
        image: (m,) int32, index into the records.
        coarse: (m,) int32, index into ``record.instances``.
        truth: (m,) int32, index into ``record.truths``.
        side: (m,) int32, of its patches, px.
        unmatched: (1,) int64, predictions left out because no annotated object matches them.
    """

    corners: NDArray[np.int32]
    instance: NDArray[np.int32]
    image: NDArray[np.int32]
    coarse: NDArray[np.int32]
    truth: NDArray[np.int32]
    side: NDArray[np.int32]
    unmatched: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.corners)


def build_index(
    records: Iterable[ImageRecord], spec: PatchSpec, min_iou: float = 0.5, rounds: Sequence[Round] = (Round.boundary,)
) -> PatchIndex:
    """Place the patches of each round of every prediction that matches an annotated object with IoU > ``min_iou``."""
    corners, patch_counts, table, unmatched = [], [], [], 0
    for image, record in enumerate(records):
        matches = best_truths(record.instances, record.truths, min_iou)
        unmatched += len(record.instances) - len(matches)
        for match in matches:
            code = record.instances[match.predicted].rle
            box = rle.bounding_box(code)
            mask = MaskWindow(0, rle.decode(code, box), box)
            for kind in rounds:
                placed = place_patches(mask, kind, spec, record.size)
                corners.append(placed.boxes[:, :2].astype(np.int32))
                patch_counts.append(len(placed.boxes))
                table.append((image, match.predicted, match.true, placed.side))
    columns = np.array(table, np.int32).reshape(-1, 4).T
    return PatchIndex(
        corners=np.concatenate([np.zeros((0, 2), np.int32), *corners]),
        instance=np.repeat(np.arange(len(table), dtype=np.int32), patch_counts),
        image=columns[0],
        coarse=columns[1],
        truth=columns[2],
        side=columns[3],
        unmatched=np.array([unmatched]),
    )


def cached_index(
    records: Sequence[ImageRecord],
    spec: PatchSpec,
    min_iou: float,
    cache: Path,
    rounds: Sequence[Round] = (Round.boundary,),
) -> tuple[PatchIndex, Path]:
    """The index of ``records``, read from ``cache`` if it is there, else built and written to it.

    The name of the file is a digest of all that determines the index, so that a change of masks, sizes,
    classes, patches or matching can never meet a stale file.

    Args:
        records: Images with predictions and ground truth.
        spec: How patches are placed.
        min_iou: A prediction is matched when its IoU is above this.
        cache: Folder; made if missing.
        rounds: The kinds of patches.

    Returns:
        The index and its file.
    """
    path = cache / f"{digest(records, spec, min_iou, rounds)}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            return PatchIndex(**{field.name: arrays[field.name] for field in fields(PatchIndex)}), path
    index = build_index(records, spec, min_iou, rounds)
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **{field.name: getattr(index, field.name) for field in fields(index)})
    return index, path


def digest(
    records: Iterable[ImageRecord], spec: PatchSpec, min_iou: float, rounds: Sequence[Round] = (Round.boundary,)
) -> str:
    """32 hexadecimal digits that change with anything that changes the index."""
    state = hashlib.blake2b(digest_size=16)
    state.update(json.dumps([LAYOUT, asdict(spec), min_iou, list(rounds)]).encode())
    for record in records:
        state.update(json.dumps([record.image_id, record.size]).encode())
        for instance in record.instances:
            state.update(f"\ncoarse {instance.category} {instance.rle['counts']}".encode())
        for truth in record.truths:
            state.update(f"\ntruth {truth.category} {truth.crowd} {truth.rle['counts']}".encode())
    return state.hexdigest()
