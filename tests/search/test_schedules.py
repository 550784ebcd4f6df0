import itertools
import math
import pickle

import pytest
import torch

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


def test_cosine_follows_torchs_scheduler():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    schedule = make_schedule("cosine")
    for i in range(20):
        assert schedule(i / 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("progress", [-1e-9, -1, math.nan, -math.inf])
def test_progress_below_zero_is_refused(progress):
    with pytest.raises(ScheduleError, match="progress="):
        make_schedule("instant")(progress)


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ("liner", {}, "'liner'; did you mean 'linear'"),
        ("zzz", {}, "known: instant, step, linear, cosine, exponential, knee"),
        ("linear", {"rate": 2}, "'rate'; known: none"),
        ("knee", {"treshold": 0.2}, "'treshold'; did you mean 'threshold'"),
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
