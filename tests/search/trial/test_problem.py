import pytest
import torch

from branchfold.errors import NetworkError, StudyError
from branchfold.search.trial.problem import Problem, new_network

OWN = """
from torch import nn


class Several(nn.Module):
    def __init__(self, several):
        super().__init__()
        self.conv, self.fc, self.several = nn.Conv2d(1, 8, 3), nn.Linear(8, 10), several

    def forward(self, x):
        y = self.fc(self.conv(x).mean((2, 3)))
        return (y, y) if self.several else y


class Branching(Several):
    def forward(self, x):
        if x.sum() > 0:
            x = -x
        return super().forward(x)


def make(several=False):
    return Several(several)


def branching():
    return Branching(False)
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "net.py").write_text(OWN)
    return lambda name, **arguments: {"factory": f"{tmp_path}/net.py:{name}", **arguments}


def rows(split_or_images):
    return [image.numpy().tobytes() for image in getattr(split_or_images, "images", split_or_images)]


def test_weights_depend_on_the_seed_alone(define):
    first, again = new_network(define()), new_network(define())
    other = new_network(define(study={"seed": 1}))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


class TestBatches:
    def test_training_is_whole_shuffled_batches(self, problem):
        batches = problem.training_batches(32, seed=5)
        assert [len(labels) for _, labels in batches] == [32] * 10
        first, second = (torch.cat([labels for _, labels in batches]) for _ in range(2))
        assert not torch.equal(first, second)
        assert torch.equal(first.bincount(), second.bincount())

    def test_images_are_augmented_where_both_the_study_and_the_trial_do(self, problem, define):
        never = Problem.of(define(data={"augment": False}))
        plain = next(iter(never.training_batches(32, seed=5)))
        for batches, same in (
            (problem.training_batches(32, seed=5), False),
            (problem.training_batches(32, seed=5, augment=False), True),
            (never.training_batches(32, seed=5, augment=True), True),
        ):
            images, labels = next(iter(batches))
            assert torch.equal(labels, plain[1])
            assert torch.equal(images, plain[0]) == same

    def test_fewer_examples_than_a_batch_are_one_batch(self, problem):
        assert [len(labels) for _, labels in problem.training_batches(1000, seed=0)] == [320]

    def test_validation_is_the_whole_split_in_order(self, problem):
        labels = torch.cat([labels for _, labels in problem.validation_batches()])
        assert torch.equal(labels, problem.data.validation.labels)

    def test_calibration_and_recalibration_are_unaugmented_and_as_many_as_asked(self, problem):
        train = problem.data.train
        for found, chosen in (
            (problem.calibration_batches, train.images[:64]),
            (problem.recalibration_batches, train.images[-64:]),
        ):
            images = torch.cat([images for images, _ in found])
            mean, std = problem.data.mean[0], problem.data.std[0]
            torch.testing.assert_close(images, (chosen / 255 - mean) / std)
            assert [len(labels) for _, labels in found] == [32, 32]

    def test_more_recalibration_than_examples_takes_all(self, define):
        problem = Problem.of(define(trial={"recalibration_batches": 100}))
        assert sum(len(labels) for _, labels in problem.recalibration_batches) == 320


class TestRefusals:
    def test_number_of_classes(self, define):
        with pytest.raises(StudyError, match=r"gives \(2, 7\).*digits.*has 10 classes: set model.num_classes = 10"):
            Problem.of(define(model={"num_classes": 7}))

    def test_input_channels(self, define):
        with pytest.raises(NetworkError, match=r"does not accept inputs of shape \(2, 1, 8, 8\)"):
            Problem.of(define(model={"in_channels": 3}))

    def test_several_outputs(self, define, own):
        definition = define(model=own("make", several=True)).model_copy()
        tables = definition.to_dict()
        del tables["model"]["width"]
        with pytest.raises(StudyError, match="gives tuple for two images"):
            Problem.of(type(definition).model_validate(tables))

    def test_network_that_cannot_be_traced_names_its_line(self, define, own, tmp_path):
        tables = define(model=own("branching")).to_dict()
        del tables["model"]["width"]
        with pytest.raises(NetworkError, match=r"cannot be traced at .*net\.py:17 \(`if x\.sum\(\) > 0:`\)"):
            Problem.of(type(define()).model_validate(tables))
