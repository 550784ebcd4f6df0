"""Where networks train: the device that Lightning takes by itself."""

import torch


def training_device() -> torch.device:
    """The device of `Trainer(accelerator="auto")`: a CUDA GPU, Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_line(workers: int = 1, threads: int | None = None) -> str:
    """What networks train on, for people.

    Args:
        workers: how many processes train at once.
        threads: of each on the CPU; those of this process by default.
    """
    device = training_device()
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_name()} (cuda)"
    if device.type == "mps":
        return "training on the GPU of this Mac (mps)"
    count = torch.get_num_threads() if threads is None else threads
    each = "" if workers == 1 else f" for each of {workers} workers"
    return f"training on the CPU with {count} thread{'' if count == 1 else 's'}{each}"
