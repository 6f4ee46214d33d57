"""Masks as other libraries hold them: taken out for refinement, and put back into a new object.

None of these libraries is imported; an object is recognised by its class or by its keys.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bpr import rle
from bpr.api.arrays import Masks, MaskStack, boxes_after, from_array, in_type_of, to_array
from bpr.formats.coco import refined_entry
from bpr.structures import Mask, Size


def masks_of(given: Any, size: Size) -> Masks:
    """The masks in an object of a known type (`bpr.api.refiner.Refiner.__call__`), of an image of ``size`` (h, w).

    Raises:
        TypeError: If the type is not known.
        ValueError: If the masks do not have the size of the image, or are missing.
    """
    kind = _kind(given)
    if kind == "supervision.Detections":
        masks = _from_supervision(given, size)
    elif kind == "ultralytics.Results":
        masks = _from_ultralytics(given)
    elif isinstance(given, Mapping):
        masks = _from_mapping(given, size)
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        masks = _from_sequence(given, size)
    else:
        masks = from_array(given)
    if masks.arrays.shape[1:] != tuple(size):
        problem = f"the masks are {masks.arrays.shape[1:]} (h, w), but the image is {tuple(size)}"
        raise ValueError(f"{problem}; bring them to its size, several with the axis of the masks first")
    return masks


def _kind(given: Any) -> str:
    """``package.Class``."""
    return f"{type(given).__module__.partition('.')[0]}.{type(given).__name__}"


def _from_supervision(given: Any, size: Size) -> Masks:
    if given.mask is None:
        if len(given):
            raise ValueError("these Detections have boxes but no masks (mask is None): nothing can be refined")
        return Masks(np.zeros((0, *size), np.bool_), lambda _: copy.copy(given))
    dense = np.asarray(given.mask).astype(np.bool_)
    return Masks(dense, lambda refined: replace(given, mask=refined, xyxy=boxes_after(refined, given.xyxy)))


def _from_ultralytics(given: Any) -> Masks:
    size = (int(given.orig_shape[0]), int(given.orig_shape[1]))
    if given.masks is None:
        if given.boxes is not None and len(given.boxes):
            raise ValueError("these Results have boxes but no masks: use a model that segments")
        return Masks(np.zeros((0, *size), np.bool_), lambda _: copy.copy(given))
    data = torch.as_tensor(given.masks.data)
    stack = data.detach().cpu().float().numpy()
    if stack.shape[1:] != size:
        stack = np.stack([_without_letterbox(mask, size) for mask in stack])

    def rebuild(refined: MaskStack) -> Any:
        result = copy.deepcopy(given)
        tensors = {"masks": torch.from_numpy(refined).to(data.device, data.dtype)}
        if given.boxes is not None:
            boxes = torch.as_tensor(given.boxes.data).clone()
            boxes[:, :4] = boxes_after(refined, boxes[:, :4])
            tensors["boxes"] = boxes
        as_given = isinstance(given.masks.data, torch.Tensor)
        result.update(**(tensors if as_given else {name: one.numpy() for name, one in tensors.items()}))
        return result

    return Masks(stack > 0.5, rebuild)


def _without_letterbox(mask: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """A mask at the network's size, padded on both sides to a rectangle, at the size of the image."""
    gain = min(mask.shape[0] / size[0], mask.shape[1] / size[1])
    content = [max(round(side * gain), 1) for side in size]
    top, left = (round((whole - part) / 2 - 0.1) for whole, part in zip(mask.shape, content, strict=True))
    inside = mask[top : top + content[0], left : left + content[1]]
    return np.asarray(cv2.resize(inside, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _from_mapping(given: Mapping[str, Any], size: Size) -> Masks:
    if "masks" in given:
        return _from_torchvision(given)
    if "segments_info" in given:
        return _from_hugging_face(given, size)
    raise TypeError(
        f"a dict of masks has 'masks' (torchvision) or 'segmentation' and 'segments_info' (Hugging Face), "
        f"this one {sorted(map(str, given))}"
    )


def _from_torchvision(given: Mapping[str, Any]) -> Masks:
    soft, boxes = given["masks"], given.get("boxes")
    if not isinstance(soft, torch.Tensor | np.ndarray) or soft.ndim != 4 or soft.shape[1] != 1:
        raise (ValueError if hasattr(soft, "shape") else TypeError)(
            f"'masks' of a torchvision detector is an (n, 1, h, w) tensor or array, got {type(soft).__name__} "
            f"{tuple(getattr(soft, 'shape', ()))}; without other entries, give the masks themselves, (n, h, w)"
        )
    form = getattr(getattr(boxes, "format", None), "name", "XYXY")  # of torchvision's tv_tensors
    if form != "XYXY":
        raise ValueError(f"the boxes of masks must be x1, y1, x2, y2 (XYXY), got {form}; convert them")

    stack, foreground = to_array(soft)[:, 0], 1
    if stack.dtype.kind in "ui":  # no probabilities, but masks, perhaps 0 and 255
        foreground = stack.dtype.type(stack.max(initial=0)) or 1

    def rebuild(refined: MaskStack) -> dict[str, Any]:
        result = {**given, "masks": in_type_of(soft, refined[:, None] * foreground)}
        if boxes is not None:
            result["boxes"] = boxes_after(refined, boxes)
        return result

    return Masks(stack > 0.5, rebuild)


def _from_hugging_face(given: Mapping[str, Any], size: Size) -> Masks:
    segments, segmentation = given["segments_info"], given["segmentation"]
    if segmentation is None or not segments:
        return Masks(np.zeros((0, *size), np.bool_), lambda _: dict(given))
    if isinstance(segmentation, list):
        raise TypeError("'segmentation' is a list of run lengths; post-process with return_binary_maps=True instead")
    if segmentation.ndim == 3:

        def rebuild_maps(refined: MaskStack) -> dict[str, Any]:
            return {**given, "segmentation": in_type_of(segmentation, refined)}

        return Masks(to_array(segmentation) > 0.5, rebuild_maps)
    ids = to_array(segmentation)
    known = [segment["id"] for segment in segments]
    background = -1 if 0 in known or (ids == -1).any() else 0  # the latter in panoptic maps
    if background < 0 and ids.dtype.kind not in "if":
        raise TypeError(f"a map with a segment of id 0 is -1 outside of all, which {ids.dtype} cannot hold: give int32")

    def rebuild_map(refined: MaskStack) -> dict[str, Any]:
        """One id for each pixel: where refined masks overlap, that of the higher score; where none is, as it was."""
        result = np.where(np.isin(ids, known), np.array(background, ids.dtype), ids)
        for number in sorted(range(len(segments)), key=lambda n: segments[n].get("score") or 0.0):
            result[refined[number]] = segments[number]["id"]
        return {**given, "segmentation": in_type_of(segmentation, result)}

    return Masks(np.stack([ids == one for one in known]), rebuild_map)


def _from_sequence(given: Sequence[Any], size: Size) -> Masks:
    """A list of masks; one that holds the objects of several images is refused."""
    if all(isinstance(entry, Mapping) and not _of_whole_image(entry) for entry in given):
        return _from_coco(given, size)
    if any(_of_whole_image(entry) for entry in given):
        raise TypeError(
            f"a list of {len(given)} {_kind(given[0])}, each with the masks of a whole image, but the image is one: "
            f"give one of them (result[0]), or a list of as many images"
        )
    each = [from_array(mask) for mask in given]
    shapes = {one.arrays.shape for one in each}
    if len(shapes) > 1 or shapes.pop()[0] != 1:
        found = sorted({tuple(one.shape or ()) for one in each})
        raise TypeError(f"a list of masks must hold (h, w) arrays of the same size, each one mask, got {found}")

    def rebuild(refined: MaskStack) -> list[Any]:
        return [one.rebuild(mask[None]) for one, mask in zip(each, refined, strict=True)]

    return Masks(np.concatenate([one.arrays for one in each]), rebuild)


def _of_whole_image(entry: Any) -> bool:
    if isinstance(entry, Mapping):
        return "masks" in entry or "segments_info" in entry
    return _kind(entry) in ("supervision.Detections", "ultralytics.Results")


def _from_coco(given: Sequence[Mapping[str, Any]], size: Size) -> Masks:
    """A list of RLEs, of entries of a results file, or of SAM's dicts; their box and area follow the mask."""
    each = [_coded(number, entry.get("segmentation", entry), size) for number, entry in enumerate(given)]

    def rebuild(refined: MaskStack) -> list[dict[str, Any]]:
        return [_coco_entry(entry, one, mask) for entry, one, mask in zip(given, each, refined, strict=True)]

    return Masks(np.concatenate([one.arrays for one in each]) if each else np.zeros((0, *size), np.bool_), rebuild)


def _coded(number: int, code: Any, size: Size) -> Masks:
    """One mask, as an array or as COCO encodes it."""
    if isinstance(code, np.ndarray | torch.Tensor):  # SAM's automatic masks
        if tuple(code.shape) != tuple(size):
            raise ValueError(f"mask {number} is {tuple(code.shape)} (h, w), but the image is {tuple(size)}")
        return from_array(code)
    try:
        mask = rle.decode(rle.from_segmentation(code, size))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"mask {number} is no COCO mask of this image: {error}") from error
    return Masks(mask[None], lambda refined: rle.in_form_of(code, rle.encode(refined[0])))


def _coco_entry(entry: Mapping[str, Any], given: Masks, mask: Mask) -> dict[str, Any]:
    segmentation = given.rebuild(mask[None])
    if "segmentation" not in entry:
        return dict(segmentation)
    return {**refined_entry(entry, rle.encode(mask)), "segmentation": segmentation}
