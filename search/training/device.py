"""Where networks train: the device that `[trial] device` names, by default the one that Lightning takes by itself."""

import torch

from ...errors import StudyError


def training_device(name: str = "auto") -> torch.device:
    """The device of a name; of "auto" a CUDA GPU, Apple's, else the CPU, as `Trainer(accelerator="auto")` has it."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_device(name: str) -> None:
    """Checks that a device is there.

    Args:
        name: "auto", "cpu", "cuda", "cuda:1" and so on, or "mps".

    Raises:
        StudyError: if it is not.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(f"cuda:{number}" for number in range(count))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name != "auto" and name not in there and not (name == "cuda" and count):
        raise StudyError(
            f"trial.device = {name!r} is not there: this machine has {', '.join(there)}; choose one with --device"
        )


def accelerator(name: str) -> tuple[str, int | list[int]]:
    """Lightning's names for a device: accelerator and devices."""
    kind, _, number = name.partition(":")
    return kind, [int(number)] if number else 1


def device_line(workers: int = 1, threads: int | None = None, name: str = "auto") -> str:
    """What networks train on, for people.

    Args:
        workers: how many processes train at once.
        threads: of each on the CPU; those of this process by default.
        name: of the device.
    """
    device = training_device(name)
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_name(device)} ({device})"
    if device.type == "mps":
        return "training on the GPU of this Mac (mps)"
    count = torch.get_num_threads() if threads is None else threads
    each = "" if workers == 1 else f" for each of {workers} workers"
    return f"training on the CPU with {count} thread{'' if count == 1 else 's'}{each}"
