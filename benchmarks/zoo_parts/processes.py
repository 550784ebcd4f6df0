"""One tool on one network in a process of its own, with limits on time and memory."""

import multiprocessing
import os
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
# By the clock a process may take this many times what it may of the processor: others are busy, too.
ASLEEP = 20


class Limits(NamedTuple):
    """What a process may take.

    Attributes:
        tool: seconds of the processor for the tool's work.
        whole: seconds of the processor for everything, checks included.
        gigabytes: the largest resident size.
        checked: whether branchfold's result is checked, which takes most of the time.
    """

    tool: float = 30
    whole: float = 600
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
    start = time.monotonic()
    while True:
        try:
            if receiver.poll(0.2):
                found |= receiver.recv()
        except EOFError:
            break
        if reached := _reached(process.pid, start, limits):
            found["stopped"] = reached
            process.kill()
            break
    process.join()
    if process.exitcode and "stopped" not in found:
        found["stopped"] = f"the process ended with {process.exitcode}"
    return found


def _reached(pid: int | None, start: float, limits: Limits) -> str:
    """Which limit a process has reached that was started then, by the monotonic clock; empty if none."""
    folder = Path(f"/proc/{pid}")
    try:
        user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        pages = int((folder / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):  # it has just ended
        return ""
    seconds = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    if pages * os.sysconf("SC_PAGE_SIZE") > limits.gigabytes * 1e9:
        return f"at {limits.gigabytes:g} GB"
    if seconds > limits.whole or time.monotonic() - start > ASLEEP * limits.whole:
        return f"after {limits.whole:g} s"
    return ""


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
