"""Studies of tasks beside classification: what cannot be pruned or compared is refused, what can is."""

import math

import pytest
import torch

from branchfold.errors import StudyError
from branchfold.search.data.batches import Batches, Split
from branchfold.search.data.known.shapes import draw_shapes
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Training
from branchfold.search.trial.baseline import make_baseline
from branchfold.search.trial.problem import Problem, new_network
from branchfold.search.trial.trial import Diverged, run_trial
from branchfold.studies.definition.reading import load_definition

TASK = """
class Task:
    name, higher_is_better = "error", False
    def __init__(self, detached=False, factor=1.0):
        self.detached, self.factor = detached, factor
    def targets(self, inputs, targets):
        return inputs
    def loss(self, outputs, targets):
        loss = (outputs - targets).square().mean()
        return loss.detach() if self.detached else loss
    def metric(self, outputs, targets):
        return self.factor * (outputs - targets).abs().flatten(1).mean(1)
"""
SMALL = ["data.limit=100", "model.width=0.25", "baseline.epochs=1", "trial.epochs=1"]


def own(tmp_path, *more):
    (tmp_path / "task.py").write_text(TASK)
    name = f"task.name={tmp_path / 'task.py'}:Task"
    return load_definition("autoencoder", [*SMALL, name, 'study.objectives=["metric"]', *more])


def ignored(event):
    pass


def test_a_baseline_that_training_made_worse_is_refused(tmp_path):
    problem = Problem.of(load_definition("autoencoder", [*SMALL, "baseline.lr=30.0"]))
    with pytest.raises(StudyError, match=r"no better than before its training: psnr .* dB .* lower baseline.lr = 30"):
        make_baseline(problem, tmp_path / "b.safetensors", ignored)
    assert not (tmp_path / "b.safetensors").exists()


def test_a_metric_that_is_no_number_is_refused_at_the_baseline(tmp_path):
    problem = Problem.of(own(tmp_path, "task.factor=nan"))
    with pytest.raises(StudyError, match="the baseline's error on the validation split is nan"):
        make_baseline(problem, tmp_path / "b.safetensors", ignored)


def test_a_loss_without_a_gradient_is_refused_before_anything_trains(tmp_path):
    with pytest.raises(StudyError, match=r"the loss of task '.*task.py:Task' has no gradient"):
        Problem.of(own(tmp_path, "task.detached=true"))


def test_a_trial_whose_metric_is_no_number_ends_as_diverged(tmp_path):
    problem = Problem.of(own(tmp_path))
    problem.task.own.factor = math.nan
    recipe = Recipe("instant", {}, 0.0, {"encoder.0": 4}, Training(lr=0.01))
    with pytest.raises(Diverged, match="error is nan on the validation split"):
        run_trial(recipe, new_network(problem.definition), problem, seed=0, on_report=ignored)


@pytest.mark.parametrize("table", ["baseline", "space.training"])
def test_label_smoothing_is_for_classes_alone(table):
    words = f"{table}.label_smoothing must be 0: task 'reconstruction' has no labels to smooth"
    with pytest.raises(StudyError, match=words):
        Problem.of(load_definition("autoencoder", [*SMALL, f"{table}.label_smoothing=0.1"]))


def test_masks_move_as_their_images_do():
    _, masks = draw_shapes(16, seed=0)
    coded = (masks[:, None] * 60).to(torch.uint8)  # images that show their masks
    split = Split(coded, masks, "train", flips=True)
    batches = Batches(split, 8, mean=(0.0,), std=(1.0,), shuffle=True, augment="shift-flip", seed=0)
    seen = [(shown, found) for shown, found in batches]
    assert all(torch.equal((shown[:, 0] * 255 / 60).round().long(), found) for shown, found in seen)
    assert not torch.equal(torch.cat([found for _, found in seen]).sum(0), masks.sum(0))
