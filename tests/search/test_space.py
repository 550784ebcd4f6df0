import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import nn

from branchfold.errors import BranchfoldError, ScheduleError, StudyError
from branchfold.models.cost import CostModel
from branchfold.models.factories import build_network
from branchfold.search.space import check_space, keep_name, propose
from branchfold.studies.dimensions import Range


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def ask(count=1, seed=0, **fixed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        if fixed:
            study.enqueue_trial({key.replace("__", "."): value for key, value in fixed.items()})
        yield study.ask()


def test_fixed_values_are_not_proposed_and_the_rest_has_its_distribution(define, task):
    definition = define(
        space__schedule={"shape": ["linear"], "fade": 0.5},
        space__training={
            "lr": {"low": 0.001, "high": 0.1, "log": True},
            "weight_decay": [0.0, 5e-4],
            "train_original": True,
        },
        space__keep={"per": "network", "range": {"low": 0.2, "high": 0.8, "step": 0.1}},
        space__initialisation={"method": ["least-squares", "kaiming"]},
    )
    (trial,) = ask()
    proposal = propose(trial, definition, task.costs)
    assert trial.distributions == {
        "schedule.shape": CategoricalDistribution(("linear",)),
        "keep": FloatDistribution(0.2, 0.8, step=0.1),
        "initialisation.method": CategoricalDistribution(("least-squares", "kaiming")),
        "training.lr": FloatDistribution(0.001, 0.1, log=True),
        "training.weight_decay": CategoricalDistribution((0.0, 5e-4)),
    }
    assert (proposal.fade, proposal.train_original, proposal.shape) == (0.5, True, "linear")
    assert proposal.lr == trial.params["training.lr"]
    assert proposal.method == trial.params["initialisation.method"]
    assert proposal.to_dict()["weight_decay"] == trial.params["training.weight_decay"]


def test_only_the_chosen_shapes_parameters_are_proposed(define, task):
    definition = define(
        space__schedule={
            "shape": ["step", "knee", "exponential", "instant"],
            "knee": {"threshold": [0.1, 0.3]},
            "step": {"steps": {"low": 3, "high": 6, "log": True}},
        }
    )
    own = {
        "step": {"schedule.step.steps"},
        "knee": {"schedule.knee.threshold", "schedule.knee.position"},
        "exponential": {"schedule.exponential.rate"},
        "instant": set(),
    }
    seen = set()
    for trial in ask(count=40):
        proposal = propose(trial, definition, task.costs)
        seen.add(proposal.shape)
        schedule = {name for name in trial.params if name.startswith("schedule.")} - {"schedule.shape"}
        fade = set() if proposal.shape == "instant" else {"schedule.fade"}
        assert schedule == own[proposal.shape] | fade
        assert {f"schedule.{proposal.shape}.{name}" for name in proposal.parameters} == own[proposal.shape]
        if proposal.shape == "step":
            assert trial.distributions["schedule.step.steps"] == IntDistribution(3, 6, log=True)
        if proposal.shape == "exponential":
            assert trial.distributions["schedule.exponential.rate"].log
        if proposal.shape == "instant":
            assert proposal.fade == 0.0
            assert proposal.schedule()(0.0) == 0.0
        assert proposal.schedule()(1.0) == 0.0
    assert seen == set(own)


class TestKeep:
    def costs(self):
        return CostModel(build_network("resnet20", {"width": 0.5}), torch.zeros(1, 3, 32, 32))

    @pytest.mark.parametrize(("per", "count"), [("network", 1), ("resolution", 3), ("layer", 12)])
    def test_one_parameter_for_each_network_resolution_or_layer(self, define, per, count):
        costs = self.costs()
        definition = define(study={"budget": {}}, space__keep={"per": per})
        (trial,) = ask()
        proposal = propose(trial, definition, costs)
        keeps = {name: value for name, value in trial.params.items() if name.split(".")[0] == "keep"}
        assert len(keeps) == count
        for group in costs.groups:
            if group.prunable:
                share = keeps[keep_name(group, per)]
                assert proposal.widths[group.name] == max(1, round(share * group.width))
        assert len(proposal.widths) == 12

    def test_names(self):
        group = self.costs().groups[0]
        assert keep_name(group, "network") == "keep"
        assert keep_name(group, "resolution") == "keep.32x32"
        assert keep_name(group, "layer") == f"keep.{group.name}"

    def test_budget_is_met_by_every_proposal(self, define):
        costs = self.costs()
        definition = define(study={"budget": {"macs": 0.3}})
        for trial in ask(count=10):
            share = costs.cost(propose(trial, definition, costs).widths).macs / costs.full.macs
            assert 0.297 <= share <= 0.3


class TestCheck:
    @pytest.mark.parametrize(
        ("schedule", "reason"),
        [
            ({"knee": {"threshold": {"low": 0.1, "high": 1.5}}}, "knee's threshold.*1.5"),
            ({"step": {"steps": [5, 2.5]}}, "step's steps must be a whole number.*2.5"),
            ({"exponential": {"rate": -1.0}}, "exponential's rate.*-1"),
            ({"linear": {"speed": 2}}, "unknown parameter of the schedule 'linear': 'speed'"),
            ({"shape": ["linear", "cosin"]}, "unknown schedule: 'cosin'; did you mean 'cosine'"),
        ],
    )
    def test_refuses_what_a_schedule_cannot_take(self, define, task, schedule, reason):
        with pytest.raises(ScheduleError, match=reason):
            check_space(define(space__schedule=schedule), task.costs)

    def test_refuses_an_unknown_shapes_table(self, define, task):
        with pytest.raises(BranchfoldError, match="sigmod"):
            check_space(define(space__schedule={"sigmod": {"rate": 3}}), task.costs)

    def test_refuses_a_budget_that_no_widths_meet(self, define, task):
        with pytest.raises(StudyError, match="cannot be met"):
            check_space(define(study={"budget": {"macs": 1e-4}}), task.costs)

    def test_refuses_a_network_without_anything_to_narrow(self, define):
        costs = CostModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.zeros(1, 1, 8, 8))
        with pytest.raises(StudyError, match="no channel group of vgg_digits can be narrowed"):
            check_space(define(), costs)

    def test_accepts_the_defaults(self, define, task):
        assert define().space.schedule.fade == Range(0.2, 0.8)
        check_space(define(space__schedule={"knee": {"threshold": {"low": 0.1, "high": 0.4}}}), task.costs)
