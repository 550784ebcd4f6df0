import pytest
import pytorch_lightning as pl
import torch

from branchfold.errors import StudyError
from branchfold.search.training import device
from branchfold.search.training.fitting import fit


def machine(monkeypatch, *, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "name", "expected"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, False, "auto", "cuda"),
        (2, False, "cpu", "cpu"),
        (2, False, "cuda:1", "cuda:1"),
    ],
)
def test_the_device_of_a_name(monkeypatch, cuda, mps, name, expected):
    machine(monkeypatch, cuda=cuda, mps=mps)
    device.check_device(name)
    assert device.training_device(name) == torch.device(expected)


@pytest.mark.parametrize(
    ("cuda", "name", "there"),
    [(0, "cuda", "cpu"), (0, "mps", "cpu"), (2, "cuda:2", "cpu, cuda:0, cuda:1")],
)
def test_a_device_that_is_not_there_is_one_line(monkeypatch, cuda, name, there):
    machine(monkeypatch, cuda=cuda)
    with pytest.raises(StudyError) as refused:
        device.check_device(name)
    assert str(refused.value) == (
        f"trial.device = {name!r} is not there: this machine has {there}; choose one with --device"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", ("auto", 1)), ("cpu", ("cpu", 1)), ("cuda", ("cuda", 1)), ("cuda:1", ("cuda", [1])), ("mps", ("mps", 1))],
)
def test_lightning_is_told(monkeypatch, name, expected):
    told = {}

    class Trainer:
        def __init__(self, **options):
            told.update(options)

        def fit(self, module, train_dataloaders):
            pass

    monkeypatch.setattr(pl, "Trainer", Trainer)
    fit(pl.LightningModule(), [], epochs=1, callbacks=[], device=name)
    assert (told["accelerator"], told["devices"]) == expected


@pytest.mark.gpu
def test_a_gpu_is_named():
    device.check_device("cuda:0")
    assert torch.cuda.get_device_name(0) in device.device_line(name="cuda:0")
