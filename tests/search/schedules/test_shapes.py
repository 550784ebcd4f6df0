import itertools
import math
import pickle
import random

import pytest
import torch
from torch.optim import lr_scheduler

from branchfold.errors import BranchfoldError, ScheduleError
from branchfold.search.schedules import SHAPES, Parameter, Shape, make_schedule

GRID = [i / 1000 for i in range(1001)]


def corners(shape):
    """All combinations of a shape's lowest, default and highest values."""
    parameters = SHAPES[shape].parameters
    ends = [(p.low, p.default, p.high) for p in parameters.values()]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*ends)]


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_starts_at_one_or_below_never_rises_and_ends_at_exactly_zero(shape):
    for parameters in corners(shape):
        schedule = make_schedule(shape, **parameters)
        values = [schedule(t) for t in GRID]
        assert 0 <= values[0] <= 1
        assert all(later <= earlier for earlier, later in itertools.pairwise(values))
        assert all(value >= 0 for value in values)
        assert values[-1] == schedule(1.5) == schedule(math.inf) == 0.0
        assert all(isinstance(value, float) for value in values)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ("exponential", {"rate": 1e-300}),
        ("exponential", {"rate": 1e300}),
        ("knee", {"threshold": 1e-300, "position": 1 - 1e-16}),
        ("knee", {"threshold": 1 - 1e-16, "position": 1e-300}),
        ("knee", {"threshold": 0.1, "position": 0.7}),
        ("multiplicative", {"factor": 1e-300, "steps": 999_999}),
        ("multiplicative", {"factor": 1 - 1e-16, "steps": 2}),
        ("polynomial", {"power": 1e-300}),
        ("polynomial", {"power": 1e300}),
        ("sigmoid", {"steepness": 1e-300, "centre": 0.5}),
        ("sigmoid", {"steepness": 1e300, "centre": 0.3}),
        ("sigmoid", {"steepness": 1e4, "centre": 1e-300}),
        ("sigmoid", {"steepness": 1e4, "centre": 1 - 1e-16}),
        ("knots", {"first": 1 - 1e-16, "second": 1 - 1e-16, "third": 1 - 1e-16, "fourth": 1 - 1e-16}),
        ("knots", {"first": 1e-300, "second": 1e-300, "third": 0.5, "fourth": 0.5}),
        ("step", {"steps": 1}),
        ("step", {"steps": 999_999}),
    ],
)
def test_extreme_parameters_still_give_a_schedule(shape, parameters):
    schedule = make_schedule(shape, **parameters)
    values = [schedule(t) for t in GRID]
    assert 0 <= values[0] <= 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))
    assert values[-1] == 0.0


def test_step_is_the_reports_schedule():
    schedule = make_schedule("step")
    tenths = [schedule(i / 10) for i in range(11)]
    assert tenths == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
    assert schedule(0.0999) == pytest.approx(0.9)
    assert schedule(0.9) == schedule(0.95) == 0.0


@pytest.mark.parametrize("steps", [3, 7, 10, 100])
def test_each_step_lasts_equally_long_whatever_the_rounding(steps):
    schedule = make_schedule("step", steps=steps)
    values = [schedule(i / (6 * steps)) for i in range(6 * steps)]
    assert [len(list(group)) for _, group in itertools.groupby(values)] == [6] * steps


def test_closed_forms():
    assert [make_schedule("instant")(t) for t in (0.0, 0.5)] == [0.0, 0.0]
    assert make_schedule("linear")(0.3) == pytest.approx(0.7)
    assert make_schedule("cosine")(1 / 3) == pytest.approx(0.75)
    # rate ln 4 at t = 1/2: (1/2 − 1/4) / (1 − 1/4)
    assert make_schedule("exponential", rate=math.log(4))(0.5) == pytest.approx(1 / 3)
    assert make_schedule("exponential")(0.0) == 1.0
    knee = make_schedule("knee", threshold=0.2, position=0.4)
    assert [knee(t) for t in (0.0, 0.2, 0.4, 0.7)] == pytest.approx([1.0, 0.6, 0.2, 0.1])

    polynomial = make_schedule("polynomial", power=3.0)
    assert [polynomial(t) for t in (0.0, 0.5, 0.9)] == pytest.approx([1.0, 0.125, 0.001])
    multiplicative = make_schedule("multiplicative", factor=0.5, steps=4)
    assert [multiplicative(t) for t in (0.0, 0.24, 0.25, 0.5, 0.75)] == [0.5, 0.5, 0.25, 0.125, 0.0]


def test_sigmoid_is_the_logistic_curve_stretched_to_its_ends():
    def logistic(x):
        return 1 / (1 + math.exp(-x))

    for steepness, centre in ((4.0, 0.2), (10.0, 0.5), (30.0, 0.8)):
        schedule = make_schedule("sigmoid", steepness=steepness, centre=centre)
        first, last = logistic(steepness * centre), logistic(steepness * (centre - 1))
        for t in (0.0, 0.1, 0.5, 0.77, 0.999):
            expected = (logistic(steepness * (centre - t)) - last) / (first - last)
            assert schedule(t) == pytest.approx(expected, abs=1e-12)
        assert schedule(0.0) == 1.0
    assert make_schedule("sigmoid", steepness=20.0)(0.5) == pytest.approx(0.5)
    assert [make_schedule("sigmoid", steepness=1e300, centre=0.3)(t) for t in (0.2, 0.4)] == [1.0, 0.0]


def test_knots_are_met_and_joined_by_lines():
    shares = {"first": 0.9, "second": 0.5, "third": 0.4, "fourth": 0.99}
    schedule = make_schedule("knots", **shares)
    heights = [1.0, 0.9, 0.45, 0.18, 0.1782, 0.0]
    assert [schedule(i / 5) for i in range(6)] == pytest.approx(heights, abs=1e-9)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(heights)]
    assert [schedule((i + 0.5) / 5) for i in range(5)] == pytest.approx(middles, abs=1e-9)
    assert schedule(0.05) == pytest.approx(0.975)


def reduce_on_plateau(losses, drop, patience):
    """α after each loss, as the documentation has it: so many in a row no better than the best since α last fell."""
    alphas, alpha, since = [], 1.0, []
    for loss in losses:
        since.append(loss)
        best = since.index(min(since))
        if len(since) - 1 - best >= patience:
            alpha, since = max(0.0, alpha - drop), []
        alphas.append(alpha)
    return alphas


class TestPlateau:
    def test_by_hand(self):
        schedule = make_schedule("plateau", drop=0.25, patience=2)
        seen = []
        for loss in (3.0, 2.0, 2.5, 1.9, 2.0, 2.0, 9.0, 9.5, 8.0, 8.0, 8.0):
            schedule.observe(loss)
            seen.append(schedule(0.5))
        assert seen == [1.0] * 5 + [0.75] * 5 + [0.5]
        assert schedule.observes
        assert (schedule(0.0), schedule(1.0)) == (0.5, 0.0)

    @pytest.mark.parametrize("patience", [1, 2, 3])
    @pytest.mark.parametrize("drop", [0.1, 0.34])
    def test_replayed(self, drop, patience):
        draw = random.Random(patience)
        losses = [round(draw.uniform(1, 2), 1) for _ in range(60)]
        schedule, alphas = make_schedule("plateau", drop=drop, patience=patience), []
        for loss in losses:
            schedule.observe(loss)
            alphas.append(schedule(0.1))
        assert alphas == pytest.approx(reduce_on_plateau(losses, drop, patience), abs=1e-9)
        assert min(alphas) == 0.0

    def test_a_loss_that_is_no_number_is_no_improvement(self):
        schedule = make_schedule("plateau", drop=0.5, patience=1)
        for _ in range(2):
            schedule.observe(math.nan)
        assert schedule(0.3) == 0.0

    def test_schedules_do_not_share_what_they_saw(self):
        first, second = make_schedule("plateau"), make_schedule("plateau")
        first.observe(1.0)
        first.observe(2.0)
        assert (first(0.5), second(0.5)) == (0.9, 1.0)

    def test_only_it_observes(self):
        assert [name for name in SHAPES if make_schedule(name).observes] == ["plateau"]


def test_stepwise_shapes_are_those_that_stay_and_then_fall():
    for name, shape in SHAPES.items():
        schedule = make_schedule(name)
        distinct = {schedule(t) for t in GRID}
        assert shape.stepwise == (2 <= len(distinct) <= 11 or name == "plateau"), name


def torchs(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("shape", "parameters", "scheduler"),
    [
        ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=20)),
        ("linear", {}, lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=20)),
        ("polynomial", {"power": 2.5}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=20, power=2.5)),
        ("polynomial", {"power": 0.4}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=20, power=0.4)),
    ],
)
def test_follows_torchs_scheduler(shape, parameters, scheduler):
    schedule = make_schedule(shape, **parameters)
    assert [schedule(i / 20) for i in range(20)] == pytest.approx(torchs(scheduler, 20), abs=1e-12)


def test_multiplicative_is_torchs_but_for_its_last_share():
    rates = torchs(lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: 0.8), 11)
    schedule = make_schedule("multiplicative", factor=0.8, steps=11)
    assert [schedule(i / 11) for i in range(10)] == pytest.approx(rates[1:], abs=1e-12)
    assert schedule(10 / 11) == 0.0


def test_exponential_is_torchs_brought_down_to_zero():
    rate, n = 3.0, 30
    decay = torchs(lambda o: lr_scheduler.ExponentialLR(o, gamma=math.exp(-rate / n)), n + 1)
    schedule = make_schedule("exponential", rate=rate)
    expected = [(x - decay[n]) / (1 - decay[n]) for x in decay[:n]]
    assert [schedule(i / n) for i in range(n)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("progress", [-1e-9, -1, math.nan, -math.inf])
def test_progress_below_zero_is_refused(progress):
    with pytest.raises(ScheduleError, match="progress="):
        make_schedule("instant")(progress)


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ("liner", {}, "'liner'; did you mean linear?"),
        (
            "zzz",
            {},
            f"known: {', '.join(SHAPES)}",
        ),
        ("linear", {"rate": 2}, "'rate' (known: none"),
        ("knee", {"treshold": 0.2}, "'treshold'; did you mean threshold?"),
        ("knee", {"threshold": 0.0}, "knee's threshold must be a finite number above 0 and below 1, but got 0.0"),
        ("knee", {"threshold": 1}, "but got 1 "),
        ("knee", {"position": 1.0}, "from 0.05 to 0.45"),
        ("knee", {"position": math.nan}, "but got nan"),
        ("exponential", {"rate": 0}, "above 0, but got 0 "),
        ("exponential", {"rate": -1.0}, "but got -1.0"),
        ("exponential", {"rate": math.inf}, "but got inf"),
        ("exponential", {"rate": "fast"}, "but got 'fast'"),
        ("exponential", {"rate": True}, "but got True"),
        ("step", {"steps": 0}, "step's steps must be a whole number above 0"),
        ("step", {"steps": 2.5}, "but got 2.5"),
        ("step", {"steps": 10**400}, "below 1e"),
    ],
)
def test_a_bad_name_or_value_is_refused_with_what_is_allowed(shape, parameters, message):
    with pytest.raises(ScheduleError) as caught:
        make_schedule(shape, **parameters)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, BranchfoldError)


def test_the_searched_ranges_are_valid_and_hold_the_defaults():
    for shape in SHAPES.values():
        for parameter in shape.parameters.values():
            assert parameter.above < parameter.low <= parameter.default <= parameter.high < parameter.below
            assert {type(parameter.low), type(parameter.high)} == {type(parameter.default)}


def test_the_knee_is_fast_above_and_slow_below_everywhere_in_its_range():
    for parameters in corners("knee"):
        knee = make_schedule("knee", **parameters)
        position = parameters["position"]
        early, late = knee(0.0) - knee(position / 2), knee(position) - knee(position * 1.5)
        assert early > late > 0


def test_a_schedule_can_be_pickled_and_shows_what_it_is():
    schedule = make_schedule("knee", threshold=0.3)
    assert pickle.loads(pickle.dumps(schedule))(0.5) == schedule(0.5)
    assert "knee" in repr(schedule)
    assert "0.3" in repr(schedule)


def test_a_new_shape_is_one_function_and_one_entry(monkeypatch):
    monkeypatch.setitem(SHAPES, "power", Shape(lambda t, *, power: (1 - t) ** power, {"power": Parameter(2, 1, 4)}))
    assert make_schedule("power")(0.5) == 0.25
    assert make_schedule("power", power=1)(0.75) == 0.25
    assert make_schedule("power")(1.0) == 0.0


def test_a_shape_that_does_not_reach_zero_itself_is_ended_there(monkeypatch):
    monkeypatch.setitem(SHAPES, "constant", Shape(lambda t: 0.5))
    assert [make_schedule("constant")(t) for t in (0.999, 1.0, 2.0)] == [0.5, 0.0, 0.0]
