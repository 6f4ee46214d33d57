"""Learning-rate schedules that torch lacks."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def poly_with_floor(optimizer: Optimizer, total_steps: int, power: float = 0.9, floor: float = 1e-4) -> LambdaLR:
    """``floor + (lr - floor) * (1 - step / total_steps) ** power``, the schedule of the paper (section 4.1).

    Args:
        optimizer: Its initial learning rates are the highest.
        total_steps: Optimizer steps after which the rate stays at ``floor``; > 0.
        power: Exponent.
        floor: Lowest learning rate; where the initial rate is lower, that stays.

    Raises:
        ValueError: If ``total_steps`` is not positive.
    """
    if total_steps <= 0:
        raise ValueError(f"total_steps must be positive, got {total_steps}: set trainer.max_steps")

    def factor_of(initial: float):  # type: ignore[no-untyped-def]
        lowest = min(floor / initial, 1.0)
        return lambda step: lowest + (1 - lowest) * max(1 - step / total_steps, 0.0) ** power

    return LambdaLR(optimizer, [factor_of(group["lr"]) for group in optimizer.param_groups])
