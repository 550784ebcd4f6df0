"""What each worker of a run has for itself: its share of the threads, and where there are GPUs one of them."""

import os
from typing import NamedTuple

import torch

from ..process.machine import cores
from ..training.device import training_device

# From so many cores on, and where there is a GPU, several workers are the default. Two threads each: small networks
# train hardly faster with more, and a core left over would idle.
_FEW_CORES = 4
_THREADS = 2


class Share(NamedTuple):
    """What one worker has.

    Attributes:
        threads: of the CPU.
        gpu: its GPU, as CUDA_VISIBLE_DEVICES names it; None where the worker has all or none.
    """

    threads: int
    gpu: str | None = None


def shares(workers: int, device: str) -> list[Share]:
    """The shares of so many workers; with more workers than GPUs several share one.

    Args:
        workers: how many.
        device: `[trial] device`. One that names a GPU gives all of them that one.
    """
    threads, names = max(1, cores() // workers), gpus(device)
    return [Share(threads, names[number % len(names)] if names else None) for number in range(workers)]


def automatic(device: str) -> int:
    """How many workers a machine like this has use for: one a GPU, else one for every two of more than four cores."""
    if training_device(device).type != "cpu":
        return max(1, len(gpus(device)))
    return cores() // _THREADS if cores() > _FEW_CORES else 1


def gpus(device: str) -> list[str]:
    """The GPUs among which workers are spread, by their names for CUDA_VISIBLE_DEVICES; none with another device."""
    if device not in ("auto", "cuda") or training_device(device).type != "cuda":
        return []
    count = torch.cuda.device_count()
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return given[:count] if given else [str(number) for number in range(count)]
