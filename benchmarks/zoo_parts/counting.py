"""MACs counted by torch itself, memory and time of a tool's work: what both tools are measured with."""

import ctypes
import gc
import re
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from branchfold.benchmarks.zoo_parts.building import run


def count_macs(network: nn.Module, inputs: Any) -> tuple[int, dict[str, int]]:
    """MACs of one forward pass by torch's counter: of the network, and of each of its modules by path.

    Attention is computed by plain products, since the counter does not know every fused kernel.
    """
    counter = FlopCounterMode(display=False)
    learning = [p for p in network.parameters() if p.requires_grad]
    for parameter in learning:  # the counter fails on views of parameters that want gradients
        parameter.requires_grad_(False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        run(network, inputs)
    for parameter in learning:
        parameter.requires_grad_(True)
    root = type(network).__name__
    by_path = {
        path.removeprefix(f"{root}."): sum(flops.values()) // 2 for path, flops in counter.get_flop_counts().items()
    }
    return counter.get_total_flops() // 2, by_path


class OutOfTimeError(BaseException):
    """A tool needs more time than it is given; no tool catches it by accident."""


class Work:
    """What a tool's work took.

    Attributes:
        seconds: of the processor, which a busy machine does not lengthen much.
        elapsed: seconds of the clock.
        megabytes: the largest resident size above that at the beginning.
    """

    seconds = elapsed = megabytes = 0.0


@contextmanager
def measured(limit: float) -> Iterator[Work]:
    """Measures what happens inside.

    Raises:
        OutOfTimeError: if it takes more than `limit` seconds of the processor.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    work = Work()
    before = _reset_peak()
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    processor, clock = time.process_time(), time.perf_counter()
    try:
        yield work
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        work.seconds, work.elapsed = time.process_time() - processor, time.perf_counter() - clock
        work.megabytes = _peak() - before


def _reset_peak() -> float:
    """Forgets the largest resident size, where the system can; the size in MB now.

    What earlier work has left free is given back first, or the tool would use it uncounted.
    """
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
