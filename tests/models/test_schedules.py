import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from bpr.models.schedules import hold_then_decay, one_cycle, poly_with_floor
from bpr.structures import SettingError

LR = 0.002


def optimizer(lr=LR):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr)


def rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("total", [2, 7, 90, 250])
def test_one_cycle_has_the_rates_of_torch(total):
    torch_own = OneCycleLR(optimizer(), LR, total, pct_start=0.05, cycle_momentum=False, final_div_factor=100)
    assert rates(one_cycle(optimizer(), total), total) == pytest.approx(rates(torch_own, total))


@pytest.mark.parametrize("rate", [0.0, 1e-5])
def test_poly_keeps_a_rate_below_its_floor(rate):
    assert rates(poly_with_floor(optimizer(rate), 10), 5) == [rate] * 5


def test_poly_goes_from_the_rate_of_the_optimizer_to_the_floor_and_stays_there():
    found = rates(poly_with_floor(optimizer(0.01), 10, floor=1e-4), 13)
    assert found[0] == 0.01
    assert found[5] == pytest.approx(1e-4 + (0.01 - 1e-4) * 0.5**0.9)
    assert found[10:] == pytest.approx([1e-4] * 3)


@pytest.mark.parametrize("make", [hold_then_decay, one_cycle, poly_with_floor])
def test_a_resumed_schedule_goes_on_as_if_never_interrupted(make):
    whole = rates(make(optimizer(), 10), 10)
    first = make(optimizer(), 10)
    rates(first, 4)
    second = make(optimizer(), 10)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.optimizer.param_groups[0]["lr"] == whole[4]
    assert rates(second, 6) == whole[4:]


@pytest.mark.parametrize("make", [hold_then_decay, one_cycle, poly_with_floor])
def test_a_finished_schedule_follows_the_longer_curve_when_it_is_prolonged(make):
    finished = make(optimizer(), 6)
    rates(finished, 6)
    longer = make(optimizer(0.001), 10)
    longer.optimizer.load_state_dict(finished.optimizer.state_dict())
    longer.load_state_dict(finished.state_dict())
    assert longer.optimizer.param_groups[0]["lr"] == longer.get_last_lr()[0]
    assert rates(longer, 4) == rates(make(optimizer(0.001), 10), 10)[6:]


def test_a_checkpoint_of_torchs_own_one_cycle_can_be_prolonged():
    finished = OneCycleLR(optimizer(), LR, 6)
    rates(finished, 6)
    longer = one_cycle(optimizer(), 10)
    longer.load_state_dict(finished.state_dict())
    assert rates(longer, 4) == rates(one_cycle(optimizer(), 10), 10)[6:]


@pytest.mark.parametrize("make", [hold_then_decay, one_cycle, poly_with_floor])
def test_a_training_without_steps_is_refused(make):
    with pytest.raises(SettingError, match=r"set trainer\.max_steps"):
        make(optimizer(), -1)


def test_a_warm_up_of_the_whole_training_is_refused():
    with pytest.raises(SettingError, match="warm_up must be in"):
        one_cycle(optimizer(), 10, warm_up=1.0)


def test_hold_then_decay_rises_stays_and_falls_to_zero():
    found = rates(hold_then_decay(optimizer(1.0), 100, warm_up=0.1, decay=0.2, start=0.5), 102)
    assert found[0] == 0.5
    assert found[5] == pytest.approx(0.75)
    assert found[10:81] == [1.0] * 71
    assert found[90] == pytest.approx(0.5)
    assert found[100:] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("given", "key"), [({"warm_up": 1.0}, "warm_up"), ({"decay": 0.0}, "decay"), ({"decay": 0.96}, "decay")]
)
def test_shares_of_the_steps_that_do_not_fit_are_refused(given, key):
    with pytest.raises(SettingError, match=f"optim.scheduler.{key}"):
        hold_then_decay(optimizer(), 100, **given)
