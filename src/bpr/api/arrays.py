"""Masks of one image as arrays and tensors: checked on the way in, of the same type on the way out."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bpr.patches.windows import bounding_box

MaskStack = NDArray[np.bool_]
"""(n, h, w) bool."""


def to_stack(given: Any) -> MaskStack:
    """(n, h, w) bool of an array or tensor, bool or 0 and 1, else `TypeError`; the memory may be shared."""
    array = to_array(given)
    if array.ndim != 3:
        found = f"{type(given).__name__} {array.shape if array.ndim else ''}".rstrip()
        raise TypeError(f"masks must be an (n, h, w) array or tensor, or an object of a supported library, got {found}")
    found = str(array.dtype)
    if array.dtype.kind in "ui" and array.size and (array.min() < 0 or array.max() > 1):
        found += f" from {array.min()} to {array.max()}"
    if array.dtype.kind not in "bui" or " " in found:
        raise TypeError(f"masks must be bool, or integers 0 and 1, got {found}; threshold them first")
    return np.ascontiguousarray(array, np.bool_)


def to_array(given: Any) -> NDArray[Any]:
    """The values on the CPU, bfloat16 as float32; the memory may be shared."""
    if not isinstance(given, torch.Tensor):
        return np.asarray(given)
    values = given.detach().cpu()
    return np.asarray((values.float() if values.dtype is torch.bfloat16 else values).numpy())


def in_type_of(given: Any, values: NDArray[Any]) -> Any:
    """The values as a tensor on the same device, or an array, of the type of the one that was given."""
    if isinstance(given, torch.Tensor):
        return torch.from_numpy(values).to(given.device, given.dtype)
    return values.astype(np.asarray(given).dtype, copy=False)


def boxes_of(masks: MaskStack) -> NDArray[np.float32]:
    """(n, 4) float32 tight boxes, ``x1, y1, x2, y2``, half-open, px; zeros for empty masks."""
    return np.array([bounding_box(mask) for mask in masks], np.float32).reshape(-1, 4)


def boxes_after(masks: MaskStack, given: Any) -> Any:
    """The boxes of the masks in the type of those that were ``given``, which stay for empty masks."""
    filled = np.asarray(masks.any(axis=(1, 2)))[:, None]
    return in_type_of(given, np.where(filled, boxes_of(masks), to_array(given)))
