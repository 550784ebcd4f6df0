"""Latency: timed in turn, measured again where it spreads too much, and said to be unsure where that did not help."""

import time

import pytest
import torch
from torch import nn

from branchfold.search.trial import latency
from branchfold.search.trial.latency import ROUNDS, compare_latency, one_thread, settled


class Slow(nn.Module):
    """Takes so many seconds; writes its name down."""

    def __init__(self, seconds, name="", order=None):
        super().__init__()
        self.seconds, self.name, self.order = seconds, name, [] if order is None else order

    def forward(self, x):
        self.order.append((self.name, torch.get_num_threads(), self.training, torch.is_grad_enabled()))
        time.sleep(self.seconds)
        return x


def pairs(*ratios, baseline=0.010):
    return [(ratio * baseline, baseline) for ratio in ratios]


def given(measurements):
    """A measurement that gives these lists of pairs, one after the other; and how many it gave."""
    taken = []

    def measure():
        taken.append(measurements[len(taken)])
        return taken[-1]

    return measure, taken


class TestTimed:
    def test_both_in_turn_on_one_thread_and_in_evaluation_mode(self):
        order = []
        network, baseline = Slow(0.002, "a", order).train(), Slow(0.004, "b", order)
        found = compare_latency(network, baseline, torch.zeros(3, 1), seconds=0.1)
        assert found.milliseconds >= 2
        assert 0.3 < found.share < 0.8
        assert found.quartiles[0] <= found.milliseconds <= found.quartiles[1]
        assert (found.threads, found.batch, found.unsure) == (1, 3, False)
        names = "".join(name for name, *_ in order)
        assert names.endswith("abababababababab")
        assert {entry[1:] for entry in order} == {(1, False, False)}
        assert network.training

    def test_torch_has_its_threads_again(self):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_a_slow_machine_slows_both(self, monkeypatch):
        """From one pair to the next the machine becomes ten times as slow: the ratio does not see it."""
        clock = iter(range(10**6))

        def seconds(network, images, passes):
            return network.seconds * (1 if next(clock) % 40 < 20 else 10)

        monkeypatch.setattr(latency, "_seconds", seconds)
        found = compare_latency(Slow(0.001), Slow(0.002), torch.zeros(1), seconds=0.01)
        assert found.share == pytest.approx(0.5)
        assert found.spread == pytest.approx(0)
        assert (found.unsure, found.rounds) == (False, 1)


class TestSettled:
    def test_by_median_and_interquartile_range_of_the_pairs_ratios(self):
        measure, taken = given([pairs(0.40, 0.42, 0.50, 0.41, 9.0)])
        found = settled(measure, 1.0)
        assert found.share == pytest.approx(0.42)  # the ratio of the means would be 2.1
        assert found.share_quartiles == pytest.approx((0.41, 0.50))
        assert found.spread == pytest.approx(0.09)
        assert found.milliseconds == pytest.approx(4.2)
        assert found.quartiles == pytest.approx((4.1, 5.0))
        assert (found.unsure, found.rounds, len(taken)) == (False, 1, 1)

    def test_again_where_the_spread_is_larger_than_the_difference(self):
        measure, taken = given([pairs(0.5, 0.8, 1.3, 0.7, 0.9), pairs(0.7, 0.8, 0.9), pairs(0.1, 0.1, 0.1)])
        found = settled(measure, 1.0)
        assert (found.share, found.rounds, found.unsure) == (pytest.approx(0.8), 2, False)
        assert len(taken) == 2

    def test_from_the_budget_where_there_is_one(self):
        quiet = pairs(0.38, 0.40, 0.42)
        assert settled(lambda: quiet, 1.0).rounds == 1
        assert not settled(lambda: quiet, 0.45).unsure
        assert settled(lambda: quiet, 0.41).unsure

    def test_five_times_and_then_the_median_of_all_is_unsure(self):
        noisy = [pairs(0.5 + number / 10, 1.0, 1.5) for number in range(9)]
        measure, taken = given(noisy)
        found = settled(measure, 1.0)
        assert len(taken) == found.rounds == ROUNDS == 5
        assert found.unsure
        assert found.share == pytest.approx(1.0)
        assert found.share_quartiles == pytest.approx((0.85, 1.5))
