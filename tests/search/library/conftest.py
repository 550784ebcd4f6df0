"""A small network, its data and a study of two trials that was run with them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from branchfold.search import run_study
from branchfold.search.exports import evaluation, verification
from branchfold.search.trial import trial

TABLES = {
    "study": {"name": "mine", "trials": 2, "budget": {"macs": 0.5}},
    "trial": {"epochs": 1, "batch_size": 32, "precision": "float32", "memory_format": "contiguous"},
    "search": {"finalists": 1},
}


def network(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def data(seed=0):
    labels = torch.arange(160) % 2
    images = torch.randn(160, 1, 6, 8, generator=torch.Generator().manual_seed(seed)) + labels.view(-1, 1, 1, 1)
    places = {"train": slice(0, 96), "validation": slice(96, 128), "test": slice(128, 160)}
    return {part: TensorDataset(images[place], labels[place]) for part, place in places.items()}


class Logger:
    """What Lightning's loggers have."""

    def __init__(self):
        self.logged, self.ended = [], None

    def log_metrics(self, metrics, step):
        self.logged.append((step, dict(metrics)))

    def finalize(self, status):
        self.ended = status


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(network=network, data=data, tables=TABLES, logger=Logger)


@pytest.fixture(scope="session")
def ran(tmp_path_factory, latency):
    """What a run left: result, url, the network, the events, the logger."""
    url = f"sqlite:///{tmp_path_factory.mktemp('library')}/s.db"
    given, events, logger = network(), [], Logger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "compare_latency", lambda *args, **kwargs: latency)
        for module in (evaluation, verification):
            patch.setattr(module, "compare_passes", lambda *args, **kwargs: latency)
        result = run_study(TABLES, network=given, data=data(), storage=url, callbacks=[events.append], loggers=[logger])
    return SimpleNamespace(result=result, url=url, network=given, events=events, logger=logger)
