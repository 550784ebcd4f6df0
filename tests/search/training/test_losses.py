import math

import pytest
import torch

from branchfold.search.space.recipe import Training
from branchfold.search.tasks.classification import Classification
from branchfold.search.tasks.distances import DISTANCES
from branchfold.search.training.losses import loss_of_recipe

divergence, squares = DISTANCES["divergence"], DISTANCES["squares"]

LOGITS = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.1, -1.0]], dtype=torch.float64)
TEACHER = torch.tensor([[0.5, 0.5, 1.0], [2.0, -1.0, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])


def softmax(row, temperature=1.0):
    powers = [math.exp(x / temperature) for x in row]
    return [x / sum(powers) for x in powers]


def entropy(row, label, smoothing=0.0):
    shares = softmax(row)
    target = [smoothing / len(row) + (1 - smoothing) * (i == label) for i in range(len(row))]
    return -sum(t * math.log(s) for t, s in zip(target, shares, strict=True))


def kl(teacher, row, temperature):
    pairs = zip(softmax(teacher, temperature), softmax(row, temperature), strict=True)
    return sum(t * math.log(t / s) for t, s in pairs)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_without_distillation_it_is_cross_entropy(smoothing):
    rows = zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    expected = mean(entropy(row, label, smoothing) for row, label in rows)
    training = Training(lr=1.0, label_smoothing=smoothing)
    for teacher in (None, TEACHER):
        assert loss_of_recipe(LOGITS, LABELS, teacher, training, Classification()).item() == pytest.approx(
            expected, rel=1e-9
        )


@pytest.mark.parametrize("temperature", [0.5, 2.0, 7.0])
def test_divergence_by_hand(temperature):
    rows = zip(TEACHER.tolist(), LOGITS.tolist(), strict=True)
    expected = temperature**2 * mean(kl(t, row, temperature) for t, row in rows)
    assert divergence(LOGITS, TEACHER, temperature).item() == pytest.approx(expected, rel=1e-9)
    assert divergence(TEACHER, TEACHER, temperature).item() == pytest.approx(0.0, abs=1e-12)


def test_squares_by_hand_do_not_see_a_shift():
    expected = []
    for row, teacher in zip(LOGITS.tolist(), TEACHER.tolist(), strict=True):
        difference = [a - b for a, b in zip(row, teacher, strict=True)]
        centre = mean(difference)
        expected += [(x - centre) ** 2 / 2 for x in difference]
    assert squares(LOGITS, TEACHER, 1.0).item() == pytest.approx(mean(expected), rel=1e-9)
    assert squares(LOGITS + 3.0, TEACHER, 1.0).item() == pytest.approx(mean(expected), rel=1e-9)


def test_squares_are_the_limit_of_the_divergence():
    assert divergence(LOGITS, TEACHER, 1e4).item() == pytest.approx(squares(LOGITS, TEACHER, 1.0).item(), rel=1e-3)


@pytest.mark.parametrize(("kind", "distance"), [("divergence", divergence), ("squares", squares)])
def test_the_weight_moves_from_the_labels_to_the_teacher(kind, distance):
    hard = loss_of_recipe(LOGITS, LABELS, None, Training(lr=1.0, label_smoothing=0.1), Classification()).item()
    soft = distance(LOGITS.float(), TEACHER.float(), 3.0).item()
    for weight in (0.25, 1.0):
        training = Training(lr=1.0, distillation=weight, distillation_loss=kind, temperature=3.0, label_smoothing=0.1)
        found = loss_of_recipe(LOGITS, LABELS, TEACHER, training, Classification()).item()
        assert found == pytest.approx((1 - weight) * hard + weight * soft, rel=1e-6)
