"""What is refused as soon as the network is known."""

import json

import pytest
import torch
from torch import nn

from branchfold.errors import StudyError
from branchfold.models.cost import CostModel
from branchfold.search.space import SearchSpace, check_budgeted, check_space
from branchfold.studies.definition.dimensions import Range
from branchfold.studies.definition.reading import load_definition


def not_asked():
    raise AssertionError("sensitivity was measured without need")


@pytest.fixture
def space_of(define, problem):
    return lambda costs=problem.costs, **changes: SearchSpace(define(**changes), costs, not_asked)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ({"knee": {"threshold": {"low": 0.1, "high": 1.5}}}, "knee's threshold.*1.5"),
        ({"step": {"steps": [5, 2.5]}}, "step's steps must be a whole number.*2.5"),
        ({"exponential": {"rate": -1.0}}, "exponential's rate.*-1"),
        ({"linear": {"speed": 2}}, "unknown key space.schedule.linear.speed; the shape linear has no parameters"),
        (
            {"knee": {"treshold": 0.2}},
            r"unknown key space.schedule.knee.treshold; did you mean space.schedule.knee.threshold\?",
        ),
    ],
)
def test_refuses_what_a_schedule_cannot_take(space_of, schedule, reason):
    with pytest.raises(StudyError, match=reason):
        check_space(space_of(space__schedule=schedule))


def test_refuses_an_unknown_shapes_table(space_of):
    with pytest.raises(StudyError, match=r"unknown key space.schedule.sigmod; did you mean space.schedule.sigmoid"):
        check_space(space_of(space__schedule={"sigmod": {"rate": 3}}))


@pytest.mark.parametrize("schedule", ["cosin", {"shape": ["linear", "cosin"]}], ids=str)
def test_refuses_an_unknown_shape(define, problem, schedule):
    with pytest.raises(StudyError, match=r"space.schedule.shape must be one or a list of .*; did you mean cosine\?"):
        check_space(SearchSpace(define(space={"schedule": schedule}), problem.costs, not_asked))


def test_refuses_a_budget_that_no_widths_meet(space_of):
    with pytest.raises(StudyError, match="cannot be met"):
        check_space(space_of(study={"budget": {"macs": 1e-4}}))


def test_refuses_bounds_that_no_budget_meets(space_of, problem):
    layers = {group.name: 1.0 for group in problem.costs.groups if group.prunable}
    with pytest.raises(StudyError, match="cannot be met: with the least channels"):
        check_space(space_of(space__keep={"layers": layers}))


@pytest.mark.parametrize(("name", "hint"), [("features.1", "did you mean"), ("classifier", "known: features.0")])
def test_refuses_bounds_of_what_is_no_group(space_of, name, hint):
    with pytest.raises(StudyError, match=f'space.keep.layers."{name}": no group.*{hint}'):
        check_space(space_of(space__keep={"layers": {name: 0.5}}))


def test_refuses_a_network_without_anything_to_narrow(space_of):
    costs = CostModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.zeros(1, 1, 8, 8))
    with pytest.raises(StudyError, match="no channel group of vgg_digits can be narrowed"):
        check_space(space_of(costs))


def test_accepts_the_defaults(define, problem):
    assert define().space.schedule.fade == Range(0.2, 0.8)
    definition = define(space__schedule={"knee": {"threshold": {"low": 0.1, "high": 0.4}}})
    check_space(SearchSpace(definition, problem.costs, not_asked))
    json.dumps(definition.to_dict())


def test_a_mistake_is_told_with_where_it_was_written(tmp_path, problem, toml):
    file = tmp_path / "mine.toml"
    file.write_text(toml + '[space.keep]\nlayers."features.1" = 0.5\n')
    for overrides, origin in (((), str(file)), (('space.keep.layers."features.1"=0.25',), "--set space.keep.layers.")):
        with pytest.raises(StudyError) as caught:
            check_space(SearchSpace(load_definition(str(file), overrides), problem.costs, not_asked))
        assert str(caught.value).startswith(origin)
        assert ': space.keep.layers."features.1": no group that can be narrowed is called so' in str(caught.value)


class TestMultiple:
    def test_of_more_channels_than_any_group_has_is_refused(self, space_of):
        # The widest groups of the quarter-width network have 32 channels.
        for multiple in (32, 1000):
            with pytest.raises(StudyError, match=r"multiple = \d+ leaves every group.*32 channels; take .* such as 8"):
                check_space(space_of(space__keep={"multiple": multiple}))

    def test_that_narrows_something_is_accepted(self, space_of):
        """The widest groups of the quarter-width network have 32 channels: one of them halved meets the budget."""
        space = space_of(space__keep={"multiple": 16}, study={"budget": {"macs": 0.9}})
        check_space(space)
        widths = space.widths(dict.fromkeys(space.full, 0.01))
        narrowed = {(space.full[name], width) for name, width in widths.items() if width < space.full[name]}
        assert narrowed == {(32, 16)}
        assert space.costs.cost(widths).macs <= 0.9 * space.costs.cost(space.full).macs


class TestRange:
    def test_above_every_network_within_the_budget_is_refused_with_one_that_would_do(self, space_of, problem):
        wide = {"range": {"low": 0.8, "high": 1.0}}
        with pytest.raises(StudyError, match=r"allows no network within study.budget.*macs.*0.25") as caught:
            check_budgeted(space_of(space__keep=wide))
        low, high = (float(str(caught.value).split(f"{end} = ")[1].split(" ")[0].strip(",")) for end in ("low", "high"))
        assert high / low == pytest.approx(1 / 0.8, rel=0.03)
        check_budgeted(space_of(space__keep={"range": {"low": low, "high": high}}))
        with pytest.raises(StudyError):
            check_budgeted(space_of(space__keep={"range": {"low": low + 0.05, "high": high}}))

    def test_counts_the_bounds_of_single_layers(self, space_of):
        layers = {"features.3": 1.0, "features.7": 1.0, "features.10": 1.0}
        check_budgeted(space_of(space__keep={"range": {"low": 0.4, "high": 1.0}}))
        with pytest.raises(StudyError, match="allows no network"):
            check_budgeted(space_of(space__keep={"range": {"low": 0.4, "high": 1.0}, "layers": layers}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"space__keep": {"range": 0.9}},  # one share everywhere: the one that meets the budget
            {"space__keep": {"range": {"low": 0.8, "high": 1.0}, "per": "sensitivity"}},
            {"space__keep": {"range": {"low": 0.8, "high": 1.0}}, "study": {"budget": {}}},
            {"study": {"budget": {"macs": 0.002}}},  # nobody wrote the default range
        ],
        ids=str,
    )
    def test_is_not_checked_where_it_means_something_else(self, space_of, changes):
        """Though the least shares cost more than the budget, or would if it were the tiny study's."""
        space = space_of(**changes)
        check_budgeted(space)
        low = float(getattr(space.table.keep.range, "low", 0.9))
        widths = {name: max(1, round(low * full)) for name, full in space.full.items()}
        cost = space.costs.cost(widths).macs / space.costs.cost(space.full).macs
        assert cost > (space.definition.study.budget.macs or 0.25)
