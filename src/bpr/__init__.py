"""Boundary Patch Refinement: sharper instance masks from any segmenter (Tang et al., CVPR 2021)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpr.api.refiner import Refiner
    from bpr.structures import PatchSpec

__all__ = ["PatchSpec", "Refiner"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import bpr`` itself costs nothing."""
    homes = {"PatchSpec": "bpr.structures", "Refiner": "bpr.api.refiner"}
    if name not in homes:
        raise AttributeError(f"module 'bpr' has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)
