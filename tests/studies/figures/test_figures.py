"""What is drawn, as small tuples; and that each tuple becomes a figure whose axes have titles."""

import json

import pytest
from made_studies import EXAMPLES, GROUPS, made_study, view_of

from branchfold.studies.figures import (
    blocks,
    cost,
    course,
    history,
    importances,
    parameters,
    schedules,
    screening,
    stages,
    widths,
)
from branchfold.studies.figures.theme import QUARTERS, compact, quarter, safe, template
from branchfold.studies.statistics import wilson
from branchfold.studies.tables.importances import Importance
from branchfold.studies.tables.screening import Screened
from branchfold.studies.tables.trials import trial_lines
from branchfold.studies.tables.widths import width_rows


@pytest.fixture(scope="module")
def view():
    return view_of(made_study())


@pytest.fixture(scope="module")
def lines(view):
    return trial_lines(view)


def titles(figure):
    return {axis.title.text for axis in (figure.layout.xaxis, figure.layout.yaxis)}


class TestCost:
    def test_points(self, view, lines):
        drawn = cost.drawn(view, lines)
        assert drawn.cost == "macs"
        assert [(round(point.cost, 3), point.metric) for point in drawn.front][:2] == [(0.2, 0.75), (0.242, 0.755)]
        assert drawn.front[0].interval == pytest.approx(tuple(wilson(0.75, EXAMPLES)))
        assert drawn.trials == ()
        assert (drawn.baseline.cost, drawn.baseline.metric, drawn.baseline.interval) == (1.0, 0.95, (0.91, 0.97))
        assert (drawn.delivered.cost, drawn.delivered.metric) == (0.15, 0.9)
        assert titles(cost.figure(drawn)) == {"MACs, share of the baseline's (%)", "accuracy (%)"}

    def test_equal_macs_are_drawn_by_parameters(self, view, lines):
        equal = [line._replace(row=line.row._replace(macs_share=line.row.macs_share and 0.15)) for line in lines]
        assert cost.drawn(view, equal).cost == "parameters"

    def test_the_second_objective_is_the_cost(self):
        view = view_of(made_study(objectives=("accuracy", "latency")))
        assert cost.drawn(view, trial_lines(view)).cost == "latency"


class TestSchedules:
    def test_a_linear_fade_over_half_of_the_trial(self, view):
        trial = view.trials[7]  # linear, two stages: the first fades in the first quarter, the second in the next
        compute, alpha = schedules.alpha_curve(view, trial)
        at = dict(zip((round(c, 6) for c in compute), alpha, strict=True))
        assert at[0.0] == 1
        assert at[0.5] == pytest.approx(1 / 3)  # two of the three groups are through, after a quarter of 2 epochs
        assert at[1.0] == 0
        assert at[2.0] == 0

    def test_a_stopped_trial_ends_where_it_was_stopped(self, view):
        compute, _ = schedules.alpha_curve(view, view.trials[4])
        assert max(compute) == 1.0

    def test_lines_by_quarter_the_best_last(self, view, lines):
        drawn = schedules.drawn(view, lines)
        assert drawn.tried == len(drawn.lines) == 12
        assert drawn.lines[-1].name.startswith("trial 11")
        assert (drawn.lines[-1].quarter, drawn.lines[0].quarter) == (3, 0)
        names = [name for name, _, _ in QUARTERS]
        figure = schedules.figure(drawn)
        assert [trace.name for trace in figure.data if trace.showlegend] == names
        assert len(figure.data) == 12

    def test_of_many_the_best_and_some_of_the_others(self):
        view = view_of(made_study(200))
        drawn = schedules.drawn(view, trial_lines(view))
        assert drawn.tried > len(drawn.lines) == schedules.MOST_LINES
        assert drawn.lines[-1].quarter == 3

    def test_quarters(self):
        assert [quarter(rank, 8) for rank in range(8)] == [3, 3, 2, 2, 1, 1, 0, 0]
        assert quarter(0, 1) == 3


def test_parameters_as_numbers_and_words(view, lines):
    drawn = parameters.drawn(view, lines, ["schedule.shape", "training.lr", "none"])
    shape, rate = drawn.panels
    assert shape.words[0] == "step"  # trial 11's
    assert set(shape.words) == {"instant", "linear", "step"}
    assert (rate.log, rate.words) == (True, ())
    assert len(shape.values) == len(rate.values) == 11  # all but the failed one
    assert sum(rate.stopped) == 2
    assert "accuracy (%)" in titles(parameters.figure(drawn))


def test_importances_the_largest_on_top():
    drawn = importances.drawn([Importance("a", 0.7, 20), Importance("b", 0.3, 15)])
    assert drawn == (("a", "b"), (0.7, 0.3), (20, 15))
    figure = importances.figure(drawn)
    assert list(figure.data[0].x) == [70, 30]
    assert figure.layout.yaxis.autorange == "reversed"


def test_widths_of_the_best_trials(view, lines):
    drawn = widths.drawn(view, lines)
    assert drawn.groups == tuple(GROUPS)
    assert drawn.full == tuple(GROUPS.values())
    assert [trial.name for trial in drawn.trials] == [
        "trial 11 (80.5 %)",
        "trial 8 (79.0 %)",
        "trial 7 (78.5 %)",
        "trial 6 (78.0 %)",
    ]
    assert drawn.trials[0].widths == (11, 21, 42)
    assert drawn.sensitivity == pytest.approx((0.2, 0.15, 0.1))
    assert len(widths.figure(drawn).data) == 4 + 2


def test_widths_without_the_full_ones():
    view = view_of(made_study(baseline=False))
    assert widths.drawn(view, trial_lines(view)) is None
    assert blocks.drawn(width_rows(view, view.trials[0])) == ()


def test_stages_over_compute(view):
    first, second = stages.drawn(view, view.trials[7])
    assert (first.start, first.end, first.last) == (0, pytest.approx(0.5), 2)
    assert (second.start, second.end) == (pytest.approx(0.5), pytest.approx(1))
    assert first.groups + second.groups == tuple(GROUPS)
    assert "compute (epochs of the baseline's training)" in titles(stages.figure((first, second)))


def test_course_of_trials(view, lines):
    drawn = course.drawn(view, lines)
    assert drawn.best[0].name == "trial 11 (step, 80.5 %)"
    assert (len(drawn.best), len(drawn.others), len(drawn.stopped)) == (5, 4, 3)
    assert drawn.best[0].metric[-1] == 161 / 200
    assert drawn.blended.metric == (pytest.approx(161 / 200 - 0.01),) * 5
    assert drawn.baseline == 0.95
    assert len(course.figure(drawn).data) == 5 + 1 + 2


def test_screening(view):
    rows = [Screened(0, 0.1, 3, 0.9), Screened(1, 0.2, None, None)]
    drawn = screening.drawn(rows, view.metric)
    assert drawn[:4] == ((0.1,), (0.9,), (3,), (0.2,))
    assert [list(trace.x) for trace in screening.figure(drawn).data] == [[0.2], [0.1]]


def test_history(view, lines):
    drawn = history.drawn(view, lines)
    assert drawn.best == tuple((n, (150 + n) / 200) for n in (0, 1, 2, 3, 5, 6, 7, 8, 11))
    assert [number for number, _ in drawn.stopped] == [4, 9]
    assert drawn.last == 11
    assert list(history.figure(drawn).data[-1].x)[-1] == 11


def test_blocks_to_scale(view):
    drawn = blocks.drawn(width_rows(view, view.trials[6]))
    assert drawn == (("first", 16, 7, 8), ("second", 32, 14, 4), ("third", 64, 29, 2))
    before, after = blocks.figure(drawn).data
    assert [list(trace.width) for trace in (before, after)] == [[16, 32, 64], [7, 14, 29]]
    left = [x - w / 2 for x, w in zip(before.x, before.width, strict=True)]
    assert [x - w / 2 for x, w in zip(after.x, after.width, strict=True)] == pytest.approx(left)


class TestTheme:
    def test_names_are_shown_as_they_are(self):
        assert safe("<b>a & b") == "&lt;b&gt;a &amp; b"

    def test_light_and_dark_differ_in_colours_alone(self):
        light, dark = template("light").layout, template("dark").layout
        assert light.paper_bgcolor != dark.paper_bgcolor
        assert light.font.size == dark.font.size

    def test_compact_json_has_five_digits(self, view, lines):
        figure = cost.figure(cost.drawn(view, lines))
        values = json.loads(compact(figure))["data"][0]["x"]
        assert values[1] == 24.167
