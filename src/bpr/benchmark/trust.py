"""``python -m bpr.benchmark.trust``: fit when masks are better kept than refined, for weights with a trust output.

Makes coarse masks of known quality from ground truth, as ``bpr stress`` does, refines them, and fits the weights of
`bpr.patches.trust` to which of them got worse.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import softplus
from tqdm import tqdm

from bpr.benchmark.measure import add_network_options, load_network
from bpr.benchmark.stress import Choice, choose_objects, inputs_of
from bpr.cli.command import at_least, command_parser, exit_code
from bpr.data.images import read_image
from bpr.formats.annotations import read_annotations
from bpr.models.backends import as_network
from bpr.models.refiner import PatchRefiner
from bpr.models.weights import CheckpointError
from bpr.patches.cutting import cut_patches, place_patches
from bpr.patches.engine import join_crops
from bpr.patches.pasting import read_answers
from bpr.patches.trust import Evidence
from bpr.patches.windows import MaskWindow, mask_iou
from bpr.structures import Image, Mask, Round, SettingError

MOST_AT_STAKE: Final = 0.03
"""IoU that is won or lost beyond this counts as this: one mask that is far off must not decide for all."""
RIDGE: Final = 1e-5
"""Of the sum of squares of the weights, beside the mean loss."""


class Case(NamedTuple):
    """One refined mask: what was known of it, and the IoU that refinement won (lost, if negative)."""

    evidence: Evidence
    gain: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and print; 0, or 2 if a file or setting cannot be used."""
    options = command_parser("python -m bpr.benchmark.trust", __doc__)
    options.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    options.add_argument("--annotations", type=Path, nargs="+", required=True, metavar="FILE", help="ground truth")
    options.add_argument("--objects", type=at_least(1), default=20, metavar="N", help="of each file (default: 20)")
    options.add_argument("--seed", type=at_least(0), default=0, help="of the draw and the simulated masks (default: 0)")
    options.add_argument("--harm", type=float, default=2.0, help="how much lost IoU counts beside won one (default: 2)")
    add_network_options(options)
    chosen = options.parse_args(arguments)

    def work() -> None:
        refiner = load_network(chosen)
        if not refiner.segmenter.trust:
            raise CheckpointError(f"{chosen.ckpt}: has no trust output; train one with model.net.trust=true")
        cases: list[Case] = []
        for path in chosen.annotations:
            choice = choose_objects(chosen.images, read_annotations(path), chosen.objects, chosen.seed)
            cases += refine_cases(refiner, choice, chosen.seed)
        bias, weights = fit(cases, chosen.harm)
        gains = np.array([case.gain for case in cases])
        kept = keeps(cases, bias, weights)
        after = [100 * float(part.mean()) for part in (gains, np.where(kept, 0, gains), gains.clip(0))]
        print(f"{len(cases)} masks; mean gain in IoU, in points: {after[0]:.2f} if all are refined,")
        print(f"{after[1]:.2f} if {kept.sum()} are kept, {after[2]:.2f} if exactly those that get worse were kept")
        print(f"BIAS = {bias:.2f}, WEIGHTS = {Evidence(*(round(weight, 2) for weight in weights))}")

    return exit_code(work)


def refine_cases(refiner: PatchRefiner, choice: Choice, seed: int) -> Iterator[Case]:
    """Refine all inputs of the chosen objects in the round that has the last word on them, trusted or not."""
    for image in tqdm(choice.images, desc="refining", unit="image", leave=False, disable=None):
        pixels = read_image(image.path, image.annotated.size)
        for true, inputs in inputs_of(image, seed):
            for coarse in inputs.values():
                case = _refine(refiner, pixels, coarse, true)
                if case is not None:
                    yield case


def _refine(refiner: PatchRefiner, pixels: Image, coarse: Mask, true: Mask) -> Case | None:
    method = replace(refiner.inference.method, rounds=(Round.object, Round.boundary))
    mask, number = MaskWindow.of(0, coarse), 0
    placed = place_patches(mask, Round.object, method.spec, true.shape)
    if not method.settles(placed):
        number = 1
        placed = place_patches(mask, Round.boundary, method.spec, true.shape)
    if not len(placed.boxes):
        return None
    network = as_network(refiner.start_patches, refiner.device)
    crops = cut_patches(pixels, placed, method.crop_side(number))
    answers = [network(*some)() for some in join_crops([crops], 16)]
    means, evidence = read_answers(placed, np.concatenate(answers), method.spec.resolved_taper)
    if evidence is None:
        return None
    x1, y1, x2, y2 = placed.mask.window
    refined = np.zeros_like(true)
    refined[y1:y2, x1:x2] = means > 0.5
    return Case(evidence, mask_iou(refined, true) - mask_iou(coarse, true))


def fit(cases: Sequence[Case], harm: float = 2.0) -> tuple[float, Evidence]:
    """Logistic regression of "refinement made it worse" on the evidence, each case weighted by what was at stake.

    Args:
        cases: Of masks that got better and of such that got worse.
        harm: Weight of those that got worse, > 0.

    Returns:
        Bias and weights of the log-odds that a mask is better kept.

    Raises:
        SettingError: If the cases are all of one kind, or ``harm`` is not above 0.
    """
    gains = torch.tensor([case.gain for case in cases], dtype=torch.float64)
    if harm <= 0 or not (gains > 0).any() or not (gains < 0).any():
        raise SettingError(f"needs masks that get better and masks that get worse, and --harm above 0, got {harm}")
    stake = gains.abs().clamp(max=MOST_AT_STAKE) * torch.where(gains < 0, harm, 1.0)
    evidence = torch.tensor([[1.0, *case.evidence] for case in cases], dtype=torch.float64)
    weights = torch.zeros(evidence.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        wrong = softplus(gains.sign() * (evidence @ weights))
        total = (stake * wrong).sum() / stake.sum() + RIDGE * weights[1:].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    bias, *others = weights.detach().tolist()
    return bias, Evidence(*others)


def keeps(cases: Sequence[Case], bias: float, weights: Evidence) -> NDArray[np.bool_]:
    """(n,) bool, which of the masks would be kept."""
    return np.asarray(np.array([case.evidence for case in cases]) @ np.array(weights) + bias > 0)


if __name__ == "__main__":
    sys.exit(main())
