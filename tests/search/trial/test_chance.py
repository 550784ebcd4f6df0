"""Baselines that are no better than one and the same answer."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from branchfold.search.tasks.classification import Classification
from branchfold.search.tasks.multilabel import Multilabel
from branchfold.search.tasks.own import OwnTask
from branchfold.search.tasks.reconstruction import Reconstruction, psnr
from branchfold.search.tasks.regression import Regression
from branchfold.search.tasks.segmentation import Segmentation
from branchfold.search.trial.baseline import make_baseline
from branchfold.search.trial.chance import at_chance, best_constant
from branchfold.studies.statistics import Interval


def problem_of(task, targets, inputs=None):
    """As much of a problem as the best constant asks for, its examples in two batches."""
    given = targets if inputs is None else inputs
    batches = [(given[:3], targets[:3]), (given[3:], targets[3:])]
    data = SimpleNamespace(validation=targets, mean=(), std=())
    return SimpleNamespace(task=task, data=data, validation_batches=lambda: batches)


def draw(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class TestBestConstant:
    def test_of_classes_is_the_most_frequent_one(self):
        assert best_constant(problem_of(Classification(3), torch.tensor([2, 1, 2, 2, 0]))) == pytest.approx(0.6)

    def test_of_one_class_alone_there_is_none(self):
        assert best_constant(problem_of(Classification(3), torch.tensor([2, 2, 2, 2]))) is None
        assert best_constant(problem_of(Segmentation(2), torch.zeros(4, 2, 2, dtype=torch.int64))) is None

    def test_of_masks_is_the_background(self):
        masks = torch.zeros(5, 2, 3, dtype=torch.int64)
        masks[:, 0, 0], masks[1, 1] = 1, 255
        # Of 27 pixels that count, 22 are background: its IoU is 22 / 27, that of the other class 0.
        assert best_constant(problem_of(Segmentation(2), masks)) == pytest.approx(22 / 27 / 2)

    def test_of_labels_is_the_best_number_of_them(self):
        labels = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 0]])
        # The first two: F1 of 1, 1, 2/3, 4/5, 2/3.
        assert best_constant(problem_of(Multilabel(), labels)) == pytest.approx((1 + 1 + 2 / 3 + 4 / 5 + 2 / 3) / 5)

    def test_of_numbers_is_the_median(self):
        numbers = draw(7, 2) ** 3
        wanted = min(float((numbers - c).abs().mean()) for c in torch.cartesian_prod(numbers[:, 0], numbers[:, 1]))
        assert best_constant(problem_of(Regression(), numbers)) == pytest.approx(wanted)

    def test_of_images_is_their_mean(self):
        images = draw(6, 1, 2, 3)
        wanted = float(psnr(images - images.mean(0)).mean())
        assert best_constant(problem_of(Reconstruction(), torch.zeros(6), images)) == pytest.approx(wanted)

    def test_of_a_task_of_ones_own_there_is_none(self):
        own = SimpleNamespace(loss=None, metric=lambda outputs, targets: targets, name="own", higher_is_better=True)
        assert best_constant(problem_of(OwnTask(own, "own.py:Task"), draw(4))) is None


class TestLine:
    def test_of_masks(self):
        masks = torch.zeros(5, 2, 3, dtype=torch.int64)
        masks[:, 0, 0] = 1
        problem = problem_of(Segmentation(2), masks)
        line = at_chance(25 / 30 / 2, None, problem)
        assert line.startswith(
            "the baseline is at chance: its miou on the 5 validation examples is 41.7 %, that of one and the same "
            "answer 41.7 %. Was it trained on inputs like these"
        )
        assert at_chance(0.5, None, problem) is None

    def test_of_numbers_of_which_less_is_better(self):
        problem = problem_of(Regression(), torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]))  # the median is 0.8 away
        assert at_chance(0.7, Interval(0.6, 0.79), problem) is None
        assert "its mae on the 5 validation examples is 0.7, that" in at_chance(0.7, Interval(0.6, 0.8), problem)

    def test_of_classes(self):
        problem = problem_of(Classification(3), torch.tensor([2, 1, 2, 2, 0]))
        assert at_chance(0.8, Interval(0.61, 0.9), problem) is None
        assert "right in 60.0 % of the 5 validation examples, one and the same class in 60.0 %" in at_chance(
            0.6, Interval(0.3, 0.8), problem
        )


def test_a_baseline_that_gives_the_background_alone_is_told(define, tmp_path):
    from branchfold.models.networks.factories import build_network
    from branchfold.search.trial.problem import Problem

    definition = define(
        study={"objectives": ["miou"], "budget": {"macs": 0.9}},
        model={"factory": "unet", "width": 0.25, "num_classes": 4, "in_channels": 1},
        data={"name": "shapes", "limit": 64},
        task={"name": "segmentation"},
        baseline={"epochs": None, "checkpoint": str(tmp_path / "net.pt")},
    )
    network = build_network("unet", definition.model.arguments)
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.arange(4) == 0)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    told = []
    make_baseline(Problem.of(definition, told.append), tmp_path / "baseline.safetensors", told.append)
    assert ["at chance: its miou" in str(event) for event in told].count(True) == 1
