"""Quality of patches during training: the network's masks beside the coarse ones."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


class PatchMetrics(Metric):
    """IoU, pixel accuracy and boundary F over all pixels of all patches that were seen.

    Sums are taken over the whole set before dividing, so that patches with little foreground do not dominate.
    Boundary F compares boundaries of 1 px (foreground pixels with a background pixel in their 3x3
    neighbourhood; the border of the patch is no boundary): one is found when one of the other mask is at most 1 px
    away (chessboard distance).
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(8, dtype=torch.int64), dist_reduce_fx="sum")
        self.sums: Tensor

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Count the pixels of (n, s, s) bool masks."""
        edge, true_edge = _edges(predicted), _edges(true)
        counts = (
            predicted & true,
            predicted | true,
            predicted == true,
            torch.ones_like(true),
            edge & _dilate(true_edge),
            edge,
            true_edge & _dilate(edge),
            true_edge,
        )
        self.sums += torch.stack([count.sum() for count in counts])

    def compute(self) -> dict[str, Tensor]:
        """``iou``, ``accuracy`` and ``boundary_f``, each in [0, 1]; 0 where there was nothing to compare."""
        intersection, union, correct, total, found, edge, found_true, true_edge = (
            self.sums.float()
        )  # Apple GPUs have no float64
        precision, recall = found / edge.clamp(min=1), found_true / true_edge.clamp(min=1)
        return {
            "iou": intersection / union.clamp(min=1),
            "accuracy": correct / total.clamp(min=1),
            "boundary_f": 2 * precision * recall / (precision + recall).clamp(min=1e-12),
        }


def _edges(masks: Tensor) -> Tensor:
    return masks & _dilate(~masks)


def _dilate(masks: Tensor) -> Tensor:
    return F.max_pool2d(masks[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
