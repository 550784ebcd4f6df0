import pytest
import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from branchfold.errors import StudyError
from branchfold.search.tasks.own import OwnTask, own_task


class Dice:
    name, higher_is_better = "dice", True

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()

    def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs * targets).sum(1)


class Accumulating(Dice):
    metric = MeanSquaredError()  # type: ignore[assignment]
    name, higher_is_better = "mse", False


def test_a_metric_per_example_is_averaged():
    task = OwnTask(Dice(), "x.py:Dice")
    judge = task.judge()
    judge.add(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]))
    judge.add(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    assert judge.value() == 2.0
    assert task.metric.name == "dice"


def test_a_metric_of_torchmetrics_accumulates_and_begins_anew():
    task = OwnTask(Accumulating(), "x.py:Accumulating")
    assert task.metric.kind == "accumulated"
    assert not task.metric.higher_is_better
    for _ in range(2):
        judge = task.judge()
        judge.add(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))
        judge.add(torch.tensor([2.0]), torch.tensor([0.0]))
        assert judge.value() == 3.0
        assert judge.scores() is None


@pytest.mark.parametrize("lacking", ["loss", "metric", "name", "higher_is_better"])
def test_what_a_class_lacks_is_told(lacking):
    members = {name: getattr(Dice, name) for name in ("loss", "metric", "name", "higher_is_better") if name != lacking}
    with pytest.raises(StudyError, match=f"has no {lacking}"):
        OwnTask(type("Partial", (), members)(), "x.py:Partial")


def test_a_metric_of_another_shape_is_told():
    class Scalar(Dice):
        def metric(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return outputs.sum()

    judge = OwnTask(Scalar(), "x.py:Scalar").judge()
    with pytest.raises(StudyError, match=r"one value per example, \(N,\), but is \(\)"):
        judge.add(torch.zeros(2, 2), torch.zeros(2, 2))


def test_a_class_is_loaded_from_a_file_with_its_arguments(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "class Task:\n"
        "    name, higher_is_better = 'off', False\n"
        "    def __init__(self, weight): self.weight = weight\n"
        "    def loss(self, outputs, targets): return self.weight * (outputs - targets).abs().mean()\n"
        "    def metric(self, outputs, targets): return (outputs - targets).abs().mean(1)\n"
    )
    task = own_task(f"{file}:Task", {"weight": 3.0})
    assert float(task.loss(torch.ones(2, 2), torch.zeros(2, 2))) == 3.0
    with pytest.raises(StudyError, match=r"has no class 'Tusk'; did you mean Task"):
        own_task(f"{file}:Tusk", {})
    with pytest.raises(StudyError, match="cannot be made with"):
        own_task(f"{file}:Task", {})
