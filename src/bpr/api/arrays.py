"""Masks of one image as arrays and tensors: checked on the way in, of the same type on the way out."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bpr.patches.windows import bounding_box

MaskStack = NDArray[np.bool_]
"""(n, h, w) bool."""
_FULL: Final = 255
"""The foreground of masks that are images of 8 bits."""


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one image, and the way back.

    Attributes:
        arrays: (n, h, w) bool. The bytes of its truths are made 1: those of Pillow's images of mode 1 are 255.
        rebuild: Gives an object such as the masks came in, from (n, h, w) bool refined masks; the object that
            was given is not changed.
        shape: Of an array or tensor of masks, in which probabilities come back too; None: (n, h, w).
    """

    arrays: MaskStack
    rebuild: Callable[[MaskStack], Any]
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", np.ascontiguousarray(self.arrays).view(np.uint8) != 0)


def from_array(given: Any) -> Masks:
    """The masks in an array or tensor: (n, h, w), (n, 1, h, w), or (h, w) for a single one.

    They are bool, 0 and 1 of any type, or integers 0 and 255, else that is a `TypeError`; the memory may be shared.
    """
    array = to_array(given)
    shape = array.shape
    if array.ndim not in (2, 3, 4) or (array.ndim == 4 and shape[1] != 1):
        found = f"{type(given).__name__} {shape if array.ndim else ''}".rstrip()
        known = "an (n, h, w), (n, 1, h, w) or (h, w) array or tensor, or an object of a supported library"
        raise TypeError(f"masks must be {known}, got {found}")
    foreground = array.dtype.type(_foreground(array))
    stack = np.ascontiguousarray(array.reshape(1 if array.ndim == 2 else shape[0], *shape[-2:]), np.bool_)

    def rebuild(refined: MaskStack) -> Any:
        return in_type_of(given, (refined if foreground == 1 else refined * foreground).reshape(shape))

    return Masks(stack, rebuild, shape)


def _foreground(array: NDArray[Any]) -> int:
    """What stands for foreground beside 0; `TypeError` if there are other values too."""
    if array.dtype.kind == "b":
        return 1
    if array.dtype.kind not in "uif":
        raise TypeError(f"masks must be bool, or 0 and 1, got {array.dtype}; threshold them first")
    foreground = _FULL if array.dtype.kind in "ui" and array.max(initial=0) == _FULL else 1
    if ((array != 0) & (array != foreground)).any():
        found = f"{array.dtype} from {array.min()} to {array.max()}"
        remedy = "threshold them first, or of a map of ids give (labels == id) for each"
        raise TypeError(f"masks must be bool, 0 and 1, or integers 0 and {_FULL}, got {found}; {remedy}")
    return foreground


def to_array(given: Any) -> NDArray[Any]:
    """The values on the CPU, bfloat16 as float32; the memory may be shared. `TypeError` for what is no array."""
    if not isinstance(given, torch.Tensor):
        try:
            return np.asarray(given)
        except NotImplementedError as error:  # such as Detectron2's Instances
            raise TypeError(f"{type(given).__name__} is no array; give the masks in it, such as pred_masks") from error
    values = given.detach().cpu()
    return np.asarray((values.float() if values.dtype is torch.bfloat16 else values).numpy())


def in_type_of(given: Any, values: NDArray[Any]) -> Any:
    """The values as a tensor on the same device, or an array, of the type of the one that was given.

    That includes the tensors of `torchvision.tv_tensors`.
    """
    if isinstance(given, torch.Tensor):
        tensor = torch.from_numpy(values).to(given.device, given.dtype)
        of_torchvision = sys.modules.get("torchvision.tv_tensors")  # is imported where there is such a tensor
        if of_torchvision is not None and isinstance(given, of_torchvision.TVTensor):
            return of_torchvision.wrap(tensor, like=given)
        return tensor
    return values.astype(np.asarray(given).dtype, copy=False)


def boxes_of(masks: MaskStack) -> NDArray[np.float32]:
    """(n, 4) float32 tight boxes, ``x1, y1, x2, y2``, half-open, px; zeros for empty masks."""
    return np.array([bounding_box(mask) for mask in masks], np.float32).reshape(-1, 4)


def boxes_after(masks: MaskStack, given: Any) -> Any:
    """The boxes of the masks in the type of those that were ``given``, which stay for empty masks."""
    filled = np.asarray(masks.any(axis=(1, 2)))[:, None]
    return in_type_of(given, np.where(filled, boxes_of(masks), to_array(given)))
