"""Learning rates as functions of the optimizer step and of the settings alone, so that a training can be prolonged."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bpr.structures import SettingError


class StepSchedule(LambdaLR):
    """A learning rate that depends on the step and on the settings, never on the checkpoint it is resumed from.

    With unchanged settings, a resumed training has the rates of an uninterrupted one. With others (more steps, another
    rate), it follows the curve of the new settings from its current step on.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the step, and set the rate that the settings give for it."""
        step = {name: state_dict[name] for name in ("last_epoch", "_step_count")}
        super().load_state_dict({**self.state_dict(), **step})
        rates = [rate * factor(self.last_epoch) for rate, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]
        for group, initial, rate in zip(self.optimizer.param_groups, self.base_lrs, rates, strict=True):
            group["initial_lr"], group["lr"] = initial, rate
        self._last_lr = rates


def poly_with_floor(optimizer: Optimizer, total_steps: int, power: float = 0.9, floor: float = 1e-4) -> StepSchedule:
    """``floor + (lr - floor) * (1 - step / total_steps) ** power``, the schedule of the paper (section 4.1).

    Args:
        optimizer: Its initial learning rates are the highest.
        total_steps: Optimizer steps after which the rate stays at ``floor``; > 0.
        power: Exponent.
        floor: Lowest learning rate; where the initial rate is lower, that stays.

    Raises:
        SettingError: If ``total_steps`` is not positive.
    """
    _check_total(total_steps)

    def factor_of(initial: float) -> Callable[[int], float]:
        lowest = floor / initial if initial > floor else 1.0
        return lambda step: lowest + (1 - lowest) * max(1 - step / total_steps, 0.0) ** power

    return StepSchedule(optimizer, [factor_of(group["lr"]) for group in optimizer.param_groups])


def one_cycle(
    optimizer: Optimizer, total_steps: int, warm_up: float = 0.05, start: float = 0.04, end: float = 0.0004
) -> StepSchedule:
    """Half a cosine up to the optimizer's learning rate and another one down (Smith & Topin, arXiv 1708.07120).

    The rates are those of `torch.optim.lr_scheduler.OneCycleLR`, which cannot be stepped beyond its total.

    Args:
        optimizer: Its initial learning rates are the highest.
        total_steps: Optimizer steps after which the rate stays at its end; > 0.
        warm_up: Share of the steps in which the rate rises, in [0, 1).
        start: First rate, as a share of the highest.
        end: Last rate, as a share of the highest.

    Raises:
        SettingError: If ``total_steps`` or ``warm_up`` is out of its range.
    """
    _check_total(total_steps)
    if not 0 <= warm_up < 1:
        raise SettingError(f"optim.scheduler.warm_up must be in [0, 1), got {warm_up}")
    highest_at, last = warm_up * total_steps - 1, total_steps - 1

    def factor(step: int) -> float:
        if step < highest_at:
            return _half_cosine(start, 1.0, step / highest_at)
        return _half_cosine(1.0, end, min((step - highest_at) / (last - highest_at), 1.0))

    return StepSchedule(optimizer, factor)


def hold_then_decay(
    optimizer: Optimizer, total_steps: int, warm_up: float = 0.05, decay: float = 0.3, start: float = 0.04
) -> StepSchedule:
    """A rate that rises, stays, and falls linearly to 0 in the last part (Hägele et al., arXiv 2405.18392).

    A training can be prolonged from any checkpoint before the fall without loss.

    Args:
        optimizer: Its initial learning rates are the highest.
        total_steps: Optimizer steps after which the rate is 0; > 0.
        warm_up: Share of the steps in which the rate rises, in [0, 1).
        decay: Share of the steps in which it falls, in (0, 1 - warm_up].
        start: First rate, as a share of the highest.

    Raises:
        SettingError: If a value is out of its range.
    """
    _check_total(total_steps)
    if not 0 <= warm_up < 1:
        raise SettingError(f"optim.scheduler.warm_up must be in [0, 1), got {warm_up}")
    if not 0 < decay <= 1 - warm_up:
        raise SettingError(f"optim.scheduler.decay must be in (0, {1 - warm_up:g}], got {decay}")
    rises, falls = warm_up * total_steps, decay * total_steps

    def factor(step: int) -> float:
        rising = start + (1 - start) * step / rises if step < rises else 1.0
        return min(rising, max((total_steps - step) / falls, 0.0))

    return StepSchedule(optimizer, factor)


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * progress))


def _check_total(total_steps: int) -> None:
    if total_steps <= 0:
        raise SettingError(f"optim.scheduler.total_steps must be positive, got {total_steps}: set trainer.max_steps")
