import copy
import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import binomtest

from branchfold.errors import NetworkError, StudyError
from branchfold.models.checkpoints import load_network, read_description, save_network
from branchfold.models.networks.factories import build_network
from branchfold.search.events import BaselineEpoch
from branchfold.search.trial.baseline import check_alive, describe, make_baseline
from branchfold.search.trial.problem import Problem
from branchfold.studies.statistics import wilson


def other_network(width=0.25, seed=9):
    torch.manual_seed(seed)
    return build_network("vgg_digits", {"width": width})


@pytest.fixture
def with_checkpoint(define):
    def make(path):
        return Problem.of(define(baseline={"checkpoint": str(path), "epochs": None}))

    return make


def test_trained_as_the_definition_says_and_alike_with_the_same_seed(problem, baseline, tmp_path):
    events = []
    record = make_baseline(problem, tmp_path / "b.safetensors", events.append)
    assert [event.epoch for event in events if isinstance(event, BaselineEpoch)] == [1, 2, 3, 4]
    network = load_network(tmp_path / "b.safetensors")
    assert all(torch.equal(value, baseline.state_dict()[name]) for name, value in network.state_dict().items())
    assert record == {
        "metric": events[-1].metric,
        "interval": wilson(events[-1].metric, 288),
        "examples": 288,
        "macs": 153344,  # 9·(8·64 + 8·8·64 + 8·16·16 + 16·16·16 + 16·32·4 + 32·32·4) + 128·10
        "parameters": sum(p.numel() for p in baseline.parameters()),
        "source": "4 epochs",
        "arithmetic": {"precision": "float32", "memory_format": "contiguous"},
    }
    assert record["metric"] > 0.5
    assert record["macs"] == 9 * (512 + 4096 + 2048 + 4096 + 2048 + 4096) + 1280


def test_its_accuracy_has_an_interval_in_the_file_and_a_chosen_networks_has_none(problem, with_checkpoint, tmp_path):
    torch.save(other_network().state_dict(), tmp_path / "net.pt")
    record = make_baseline(with_checkpoint(tmp_path / "net.pt"), tmp_path / "b.safetensors", lambda event: None)
    (kept,) = read_description(tmp_path / "b.safetensors").metrics
    found = binomtest(round(288 * record["metric"]), 288).proportion_ci(method="wilson")
    assert kept == {
        "split": "validation",
        "metric": "accuracy",
        "value": record["metric"],
        "examples": 288,
        "interval": pytest.approx([found.low, found.high]),
        "seed": 0,
    }
    (chosen,) = describe(problem, {"features.0": 3}, 0.5, {"trial": 1}).metrics
    assert chosen.keys() == kept.keys() - {"interval"}


@pytest.mark.parametrize("form", ["safetensors", "plain.safetensors", "pt", "wrapped.pt"])
def test_checkpoints_in_every_form(problem, with_checkpoint, tmp_path, form):
    path, network = tmp_path / f"net.{form}", other_network()
    if form == "safetensors":
        save_network(network, path, describe(problem, {}, 0.5, {}))
    elif form == "plain.safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save({"state_dict": network.state_dict()} if form == "wrapped.pt" else network.state_dict(), path)
    events = []
    record = make_baseline(with_checkpoint(path), tmp_path / "b.safetensors", events.append)
    assert [event.text.partition(":")[0] for event in events] == ["the baseline is at chance"]
    assert record["source"] == str(path)
    kept = load_network(tmp_path / "b.safetensors")
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in network.state_dict().items())


class TestRefusals:
    def refused(self, problem, tmp_path):
        with pytest.raises(NetworkError) as caught:
            make_baseline(problem, tmp_path / "b.safetensors", lambda event: None)
        assert not (tmp_path / "b.safetensors").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_missing(self, with_checkpoint, tmp_path):
        path = tmp_path / "none.pt"
        assert self.refused(with_checkpoint(path), tmp_path) == f"there is no checkpoint {path}"

    def test_another_network(self, with_checkpoint, tmp_path):
        torch.save(other_network(width=0.5).state_dict(), tmp_path / "net.pt")
        message = self.refused(with_checkpoint(tmp_path / "net.pt"), tmp_path)
        assert "is of another network than vgg_digits builds" in message
        assert "features.0.weight" in message

    def test_narrowed(self, problem, with_checkpoint, tmp_path):
        save_network(other_network(), tmp_path / "n.safetensors", describe(problem, {"features.0": 3}, 0.5, {}))
        assert "narrowed already" in self.refused(with_checkpoint(tmp_path / "n.safetensors"), tmp_path)

    def test_whole_module_is_never_unpickled(self, with_checkpoint, tmp_path):
        torch.save(other_network(), tmp_path / "net.pt")
        assert "holds no state dict" in self.refused(with_checkpoint(tmp_path / "net.pt"), tmp_path)

    def test_something_else_than_tensors(self, with_checkpoint, tmp_path):
        torch.save({"epoch": 3}, tmp_path / "net.pt")
        assert "holds no state dict" in self.refused(with_checkpoint(tmp_path / "net.pt"), tmp_path)


class TestAlive:
    @pytest.fixture
    def network(self, baseline):
        """The trained network with another bias of class 0."""

        def make(bias=0.0):
            network = copy.deepcopy(baseline)
            with torch.no_grad():
                network.classifier.bias[0] += bias
            return network

        return make

    def test_a_trained_network_is(self, network, problem):
        """It tells digits apart, and is told from its copy that gives the same one always."""
        split = [batch for batch, _ in problem.validation_batches()]
        with torch.no_grad():
            answers = [torch.cat([made(x).argmax(1) for x in split]) for made in (network(), network(1e6))]
        assert len(answers[0].unique()) > 5
        assert answers[1].unique().tolist() == [0]
        check_alive(network(), problem)
        with pytest.raises(StudyError):
            check_alive(network(1e6), problem)

    @pytest.mark.parametrize("bias", [float("nan"), float("inf")])
    def test_one_whose_outputs_are_not_finite_is_not(self, network, problem, define, bias):
        words = r"the trained baseline's outputs are not finite; lower baseline.lr = 0.1"
        with pytest.raises(StudyError, match=words):
            check_alive(network(bias), problem)
        given = define(baseline={"epochs": None, "checkpoint": "a.pt"})
        with pytest.raises(StudyError, match=r"the outputs of checkpoint 'a.pt' are not finite"):
            check_alive(network(bias), dataclasses.replace(problem, definition=given))

    def test_one_that_training_left_with_one_class_is_not(self, network, problem, define):
        words = r"gives all 288 validation examples the same class; lower baseline.lr = 0.1 or raise baseline.epochs"
        with pytest.raises(StudyError, match=words):
            check_alive(network(1e6), problem)
        given = define(baseline={"epochs": None, "checkpoint": "a.pt"})
        check_alive(network(1e6), dataclasses.replace(problem, definition=given))
