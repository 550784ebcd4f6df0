"""One tool on one network in a process of its own, with limits on time and memory."""

import multiprocessing
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from branchfold.benchmarks.zoo_parts import ours, theirs
from branchfold.benchmarks.zoo_parts.building import subject
from branchfold.benchmarks.zoo_parts.counting import OutOfTimeError

TOOLS = ("branchfold", "torch-pruning")


class Limits(NamedTuple):
    """What a process may take.

    Attributes:
        tool: seconds of the processor for the tool's work.
        whole: seconds of the clock for everything, checks included.
        gigabytes: the largest resident size.
        checked: whether branchfold's result is checked, which takes most of the time.
    """

    tool: float = 60
    whole: float = 900
    gigabytes: float = 8
    checked: bool = True


def measure(tool: str, key: str, limits: Limits) -> dict[str, Any]:
    """What the process told before it ended or was stopped.

    Beside what the tool's `measure` tells: "unusable" if the network itself does not run, "crash" with the "stage" in
    which an exception that the tool does not mean for its user came, "stopped" where a limit was reached.
    """
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_measure, args=(tool, key, limits, sender))
    process.start()
    sender.close()
    found: dict[str, Any] = {}
    end = time.monotonic() + limits.whole
    while True:
        try:
            if receiver.poll(0.2):
                found |= receiver.recv()
        except EOFError:
            break
        if reached := _reached(process.pid, end, limits):
            found["stopped"] = reached
            process.kill()
            break
    process.join()
    if process.exitcode and "stopped" not in found:
        found["stopped"] = f"the process ended with {process.exitcode}"
    return found


def _reached(pid: int | None, end: float, limits: Limits) -> str:
    """Which limit a process has reached; empty if none."""
    if time.monotonic() > end:
        return f"after {limits.whole:.0f} s"
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return ""
    return f"at {limits.gigabytes:g} GB" if pages * 4096 > limits.gigabytes * 1e9 else ""


def _measure(tool: str, key: str, limits: Limits, sender: Connection) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    stage = "building"

    def tell(**told: Any) -> None:
        nonlocal stage
        stage = told.get("stage", stage)
        sender.send(told)

    try:
        tell(stage=stage)
        given = subject(key)
    except Exception as error:
        return tell(unusable=_one_line(error))
    try:
        if tool == "branchfold":
            ours.measure(given, tell, limits.tool, checked=limits.checked)
        else:
            theirs.measure(given, tell, limits.tool)
    except OutOfTimeError:
        tell(stopped=f"after {limits.tool:g} s of work")
    except Exception as error:
        tell(crash=_one_line(error))
    return None


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]:.300}"
