import copy
import math
from dataclasses import replace

import optuna
import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import load_network, read_description
from branchfold.search.run.recording import Recorder
from branchfold.search.schedules import make_schedule
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Stages, Training
from branchfold.search.training.arithmetic import Arithmetic
from branchfold.search.trial import fold_check
from branchfold.search.trial.fold_check import FOLDING_TOLERANCE
from branchfold.search.trial.problem import Problem
from branchfold.search.trial.trial import Diverged, run_trial, save_result

WIDTHS = {
    "features.0": 3,
    "features.3": 8,
    "features.7": 7,
    "features.10": 9,
    "features.14": 12,
    "features.17": 20,
}


def recipe(stages=None, **changes):
    """A recipe of all groups in one stage; what `Training` has among the changes goes there."""
    own = {key: changes.pop(key) for key in list(changes) if key in Training.__dataclass_fields__}
    values = {"shape": "linear", "parameters": {}, "fade": 0.5, "widths": WIDTHS, **changes}
    narrow = tuple(name for name in WIDTHS if values["widths"][name] <= WIDTHS[name])
    return Recipe(
        **values, training=Training(**({"lr": 0.02} | own)), stages=Stages(**({"sequence": narrow} | (stages or {})))
    )


def run(problem, baseline, seed=3, **changes):
    """(result, accuracies at α = 0 by report, reports)."""
    reports = []
    result = run_trial(recipe(**changes), baseline, problem, seed=seed, on_report=reports.append)
    assert result.reports == reports
    return result, {report.number: report.folded_metric for report in reports}, reports


@pytest.fixture(scope="module")
def ran(problem, baseline):
    return run(problem, baseline)


def plain_accuracy(network, problem):
    """Validation accuracy without branchfold's batches: images normalised by hand, one forward pass."""
    validation = problem.data.validation
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (problem.data.mean, problem.data.std))
    with torch.no_grad():
        logits = copy.deepcopy(network).eval()((validation.images / 255 - mean) / std)
    return float((logits.argmax(1) == validation.labels).double().mean())


def with_recomputed_norms(network, batches):
    """BatchNorm statistics as plain means over the batches (momentum None is torch's cumulative average)."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    network.train()
    with torch.no_grad():
        for images, _ in batches:
            network(images)
    return network.eval()


class TestReports:
    def test_step_zero_is_the_initialised_network_folded_with_its_norms_recomputed(self, problem, baseline, ran):
        _, values, _ = ran
        shares = {
            name: width / next(g.width for g in problem.costs.groups if g.name == name)
            for name, width in WIDTHS.items()
        }
        branched = add_branches(
            baseline, torch.zeros(2, 1, 8, 8), keep=shares, init="least-squares", data=problem.calibration_batches
        )
        raw = fold(branched)
        expected = plain_accuracy(with_recomputed_norms(raw, problem.recalibration_batches), problem)
        assert values[0] == pytest.approx(expected, abs=1e-9)

    def test_one_value_an_epoch_beside_the_accuracy_at_the_current_alpha(self, problem, baseline, ran):
        _, values, events = ran
        assert sorted(values) == [0, 1, 2]
        assert [event.number for event in events] == [0, 1, 2]
        # Before the first step α is 1: the original alone is heard.
        assert events[0].alpha == 1.0
        assert events[0].metric == pytest.approx(plain_accuracy(baseline, problem), abs=1e-9)
        assert events[2].alpha == 0.0
        assert events[2].metric == pytest.approx(plain_accuracy(ran[0].network, problem), abs=1e-9)
        assert "loss" not in events[0].to_dict()
        assert events[1].to_dict()["loss"] > 0

    def test_the_last_value_is_the_delivered_networks_accuracy(self, problem, ran):
        result, values, _ = ran
        assert result.measurement.metric == values[2]
        assert plain_accuracy(result.network, problem) == pytest.approx(values[2], abs=1e-9)

    def test_the_value_is_at_alpha_zero_also_while_the_original_is_heard(self, problem, baseline):
        """With a rate of next to nothing the value stays where it was, whatever α is."""
        _, values, events = run(problem, baseline, fade=1.0, lr=1e-12, weight_decay=0.0)
        assert 0 < events[1].alpha < 1
        assert values[1] == pytest.approx(values[0], abs=2 / len(problem.data.validation))
        assert events[1].metric > values[1]


class TestResult:
    def test_network_has_the_proposed_widths_and_their_cost(self, ran, problem):
        network, measurement = ran[0].network, ran[0].measurement
        assert {name: network.get_submodule(name).out_channels for name in WIDTHS} == WIDTHS
        assert measurement.parameters == sum(p.numel() for p in network.parameters())
        widths = list(WIDTHS.values())
        positions = [64, 64, 16, 16, 4, 4]
        macs = sum(
            9 * before * width * places for before, width, places in zip([1, *widths], widths, positions, strict=False)
        )
        assert measurement.macs == macs + widths[-1] * 4 * 10
        assert measurement.macs_share == measurement.macs / problem.costs.full.macs

    def test_in_another_precision_and_memory_format_it_is_a_plain_float32_network_all_the_same(self, problem, baseline):
        seen = set()
        watch = torch.nn.modules.module.register_module_forward_hook(
            lambda layer, args, output: (
                seen.add((output.dtype, layer.weight.is_contiguous()))
                if isinstance(layer, nn.Conv2d)
                and layer.kernel_size == (3, 3)
                and layer.in_channels > 1
                and layer.training
                else None
            )
        )
        with watch:
            other = replace(problem, arithmetic=Arithmetic("bfloat16", "channels_last"))
            result, _, _ = run(other, baseline, stages={"count": 2})
        assert (torch.bfloat16, False) in seen
        assert not [dtype for dtype, contiguous in seen if contiguous and dtype == torch.bfloat16]
        for name, value in result.network.named_parameters():
            assert value.dtype == torch.float32, name
            assert value.is_contiguous(), name
        assert result.measurement.metric == plain_accuracy(result.network, problem)
        assert 0 < result.folding_error < 1e-9

    def test_what_the_baseline_teaches_of_images_as_they_are_costs_nothing(self, problem, baseline, monkeypatch):
        kept, _, _ = run(problem, baseline, distillation=0.5, augment=False)
        monkeypatch.setattr(Problem, "taught", lambda *_: None)
        beside, _, _ = run(problem, baseline, distillation=0.5, augment=False)
        plain, _, _ = run(problem, baseline, augment=False)
        # One of three passes of every epoch is the baseline's.
        epochs = problem.definition.trial.epochs
        assert beside.compute - kept.compute == pytest.approx(epochs / 3, rel=0.05)
        assert kept.compute == plain.compute
        different = 0
        for (name, value), other, without in zip(
            kept.network.named_parameters(), beside.network.parameters(), plain.network.parameters(), strict=True
        ):
            torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-4, msg=name)
            different += not torch.allclose(value, without, rtol=1e-2, atol=1e-2)
        assert different > 3

    def test_folding_is_exact(self, ran):
        assert 0 < ran[0].folding_error < 1e-9

    @pytest.mark.parametrize("error", [1e-6, math.nan])
    def test_a_wrong_fold_is_found(self, problem, baseline, monkeypatch, error):
        def slightly_wrong(branched, groups=None):
            network = fold(branched) if groups is None else fold(branched, groups)
            with torch.no_grad():
                network.classifier.bias += error
            return network

        monkeypatch.setattr(fold_check, "fold", slightly_wrong)
        with pytest.raises(NetworkError, match="the folded network differs from the branched one"):
            run(problem, baseline)
        assert FOLDING_TOLERANCE == 1e-9

    @pytest.mark.parametrize("train_original", [True, False])
    def test_baseline_is_not_changed(self, problem, baseline, train_original):
        before = copy.deepcopy(baseline.state_dict())
        run(problem, baseline, train_original=train_original)
        assert all(torch.equal(value, before[name]) for name, value in baseline.state_dict().items())
        assert not baseline.training
        assert all(parameter.requires_grad for parameter in baseline.parameters())

    def test_checkpoint_reloaded_has_the_same_accuracy(self, problem, ran, tmp_path):
        result = ran[0]
        path = save_result(result, recipe(), problem, 7, tmp_path)
        again = load_network(path)
        assert plain_accuracy(again, problem) == pytest.approx(result.measurement.metric, abs=1e-9)
        description = read_description(path)
        full = {group.name: group.width for group in problem.costs.groups}
        assert description.widths == {name: width for name, width in WIDTHS.items() if width < full[name]}
        assert description.origin == {"study": "tiny", "trial": 7}
        assert description.metrics[0]["value"] == result.measurement.metric

    def test_same_seed_same_result_other_seed_another(self, problem, baseline, ran):
        again, other = run(problem, baseline)[0], run(problem, baseline, seed=4)[0]
        first = ran[0].network.state_dict()
        assert [report.to_dict() for report in again.reports] == [report.to_dict() for report in ran[0].reports]
        assert all(torch.equal(value, first[name]) for name, value in again.network.state_dict().items())
        assert not torch.equal(other.network.classifier.weight, first["classifier.weight"])

    def test_a_recipe_may_leave_the_augmentation_out(self, problem, baseline, define):
        never = Problem.of(define(data={"augment": False}))
        weights = [
            run(of, baseline, **changes)[0].network.classifier.weight
            for of, changes in ((problem, {"augment": False}), (never, {}), (problem, {}))
        ]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_random_branches_depend_on_the_seed(self, problem, baseline):
        first, again, other = (run(problem, baseline, seed=seed, method="kaiming", lr=1e-9)[0] for seed in (3, 3, 4))
        weights = [result.network.get_submodule("features.3").weight for result in (first, again, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.allclose(weights[0], weights[2])

    def test_kaiming_is_random_and_least_squares_is_not(self, problem, baseline):
        _, random_values, _ = run(problem, baseline, method="kaiming", lr=1e-9)
        _, fitted_values, _ = run(problem, baseline, lr=1e-9)
        assert random_values[0] < 0.35 < fitted_values[0]

    def test_whole_groups_have_no_branch(self, problem, baseline):
        full = {group.name: group.width for group in problem.costs.groups if group.prunable}
        result, values, _ = run(problem, baseline, widths=full, lr=1e-9, weight_decay=0.0)
        assert result.measurement.macs_share == 1.0
        expected = plain_accuracy(with_recomputed_norms(baseline, problem.recalibration_batches), problem)
        assert values[0] == pytest.approx(expected, abs=1e-9)


class TestEnds:
    @pytest.mark.parametrize("fade", [0.01, 0.99])
    def test_diverged_training_stops_early(self, problem, baseline, fade):
        with pytest.raises(Diverged, match=r"diverged.*a smaller learning rate"):
            run(problem, baseline, lr=1e12, fade=fade)

    def test_pruner_stops_it(self, problem, baseline):
        class Always(optuna.pruners.BasePruner):
            def prune(self, study, trial):
                return trial.last_step == 1

        study = optuna.create_study(direction="maximize", pruner=Always())
        trial, events = study.ask(), []
        with pytest.raises(optuna.TrialPruned):
            run_trial(
                recipe(),
                baseline,
                problem,
                seed=0,
                on_report=(recorder := Recorder(trial, problem.definition, events.append)),
            )
        assert sorted(study.trials[0].intermediate_values) == [0, 1]
        assert [entry["number"] for entry in recorder.history] == [0, 1]
        assert [(event.unit, event.number, event.total) for event in events] == [("epoch", 0, 2), ("epoch", 1, 2)]

    @pytest.mark.parametrize("shape", ["instant", "step", "knee", "plateau"])
    def test_shapes_end_folded(self, problem, baseline, shape):
        parameters = make_schedule(shape).parameters
        result, _, _ = run(problem, baseline, shape=shape, parameters=parameters, fade=1.0)
        assert result.network.get_submodule("features.0").out_channels == 3
        assert result.reports[-1].alpha == 0.0
        assert math.isfinite(result.measurement.metric)
