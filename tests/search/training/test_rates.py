import math

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from branchfold.search.schedules import Window, make_schedule
from branchfold.search.training.rates import RATES, course, restart_points


def by_torch(make, steps, peak=1.0):
    """Learning rates of a torch scheduler at so many steps."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_one_cycle_is_torchs():
    """At 2,001 steps torch's warm-up would end at 0.3 × 2001 − 1: its share is chosen so that it ends at 600."""
    last, peak = 2000, 0.07
    rates = by_torch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, peak, total_steps=last + 1, pct_start=(0.3 * last + 1) / (last + 1), cycle_momentum=False
        ),
        steps=last,
        peak=peak,
    )
    found = course("one-cycle", [])
    assert [peak * found(i / last) for i in range(last)] == pytest.approx(rates, rel=1e-6)
    assert peak * found(1.0) == pytest.approx(peak / 25 / 1e4, rel=1e-9)


def test_cosine_is_torchs():
    rates = by_torch(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=50), steps=50)
    assert [course("cosine", [])(i / 50) for i in range(50)] == pytest.approx(rates, abs=1e-12)


def test_cosine_with_restarts_is_torchs():
    rates = by_torch(lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10), steps=30)
    found = course("cosine", [2 / 3, 1 / 3])
    # The edges 1/3 and 2/3 are no exact numbers: one is looked at from just behind.
    assert [found(i / 30 + 1e-12) for i in range(30)] == pytest.approx(rates, abs=1e-9)


def test_linear_is_torchs():
    rates = by_torch(
        lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=20), steps=20
    )
    assert [course("linear", [])(i / 20) for i in range(20)] == pytest.approx(rates, abs=1e-12)


@pytest.mark.parametrize("name", sorted(RATES))
def test_each_part_runs_through_the_whole_course(name):
    once, parts = course(name, []), course(name, [0.5, 0.75, 0.0, 1.0, 0.5])
    for start, length in ((0.0, 0.5), (0.5, 0.25), (0.75, 0.25)):
        for t in (0.0, 0.2, 0.3, 0.9):
            assert parts(start + t * length) == pytest.approx(once(t))
    assert parts(1.0) == once(1.0)
    assert 0 <= once(1.0) < 1e-4
    assert max(once(i / 1000) for i in range(1001)) == 1.0


class TestRestartPoints:
    windows = (Window(0.0, 0.25), Window(0.25, 0.5))

    def test_none(self):
        assert restart_points("none", make_schedule("step"), self.windows) == []

    def test_at_the_end_of_every_stage(self):
        assert restart_points("stages", make_schedule("step"), self.windows) == [0.25, 0.5]

    def test_at_every_fall_of_a_stepwise_alpha(self):
        schedule = make_schedule("step", steps=5)
        found = restart_points("alpha", schedule, self.windows)
        assert found == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5])
        # They are the places where α falls.
        for point in found[:4]:
            before, after = (schedule(self.windows[0].progress(point + shift)) for shift in (-1e-6, 1e-6))
            assert before - after == pytest.approx(0.2)

    def test_a_smooth_alpha_has_no_falls(self):
        assert restart_points("alpha", make_schedule("cosine"), self.windows) == [0.25, 0.5]
        assert restart_points("alpha", make_schedule("plateau"), self.windows) == [0.25, 0.5]


def test_sgdr_at_the_middle_is_half():
    assert course("cosine", [0.5])(0.25) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
