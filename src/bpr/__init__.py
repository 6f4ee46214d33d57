"""Boundary Patch Refinement: sharper instance masks from any segmenter (Tang et al., CVPR 2021)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpr.api.refiner import Refiner
    from bpr.structures import PatchSpec

__all__ = ["PatchSpec", "Refiner"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import bpr`` itself costs nothing."""
    if name == "Refiner":
        from bpr.api.refiner import Refiner

        return Refiner
    if name == "PatchSpec":
        from bpr.structures import PatchSpec

        return PatchSpec
    raise AttributeError(f"module 'bpr' has no attribute {name!r}")
