"""What each worker has: threads, or a GPU."""

import pytest
import torch

from branchfold.search.crew import sharing
from branchfold.search.crew.sharing import Share, automatic, shares


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores and GPUs."""

    def be(cores, gpus=0, visible=None):
        monkeypatch.setattr(sharing, "cores", lambda: cores)
        kind = "cuda" if gpus else "cpu"
        monkeypatch.setattr(sharing, "training_device", lambda name: torch.device(kind if name == "auto" else name))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return be


def test_threads_are_shared_out(machine):
    machine(8)
    assert shares(3, "auto") == [Share(2), Share(2), Share(2)]
    machine(2)
    assert shares(5, "cpu") == [Share(1)] * 5


def test_each_worker_has_a_gpu_and_several_share_one(machine):
    machine(16, gpus=2)
    assert [share.gpu for share in shares(5, "auto")] == ["0", "1", "0", "1", "0"]
    assert [share.gpu for share in shares(2, "cuda")] == ["0", "1"]
    assert [share.gpu for share in shares(2, "cuda:1")] == [None, None]  # both on the one that is named
    assert [share.gpu for share in shares(2, "cpu")] == [None, None]


def test_gpus_are_those_that_this_process_sees(machine):
    machine(16, gpus=2, visible="3, GPU-7f")
    assert [share.gpu for share in shares(3, "auto")] == ["3", "GPU-7f", "3"]


@pytest.mark.parametrize(("cores", "gpus", "workers"), [(1, 0, 1), (4, 0, 1), (5, 0, 2), (16, 0, 8), (16, 3, 3)])
def test_as_many_as_the_machine_has_use_for(machine, cores, gpus, workers):
    machine(cores, gpus=gpus)
    assert automatic("auto") == workers
