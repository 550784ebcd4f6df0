"""How many workers the machine's memory bears: what one of them needs, measured here, and what is free."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from ...errors import StudyError
from ..space import Recipe
from ..space.recipe import Training
from ..tasks.calls import called, moved
from ..training.device import training_device
from ..training.fitting import sgd
from ..trial.measurement import metric_of
from ..trial.task import Task, new_network
from ..trial.trial import delivered, initialised

_GIB = 2**30
# What Lightning, the sampler and a longer training add: whole trials took 8 to 15 % more than their rehearsals.
_MARGIN = 1.2
# A limit of control groups from which on there is none: v1 writes "none" as the largest whole number of pages.
_UNLIMITED = 2**60


def check_memory(task: Task, workers: int) -> None:
    """Checks that so many workers fit into the memory that is free now; where that is not known, they do.

    Raises:
        StudyError: if they do not; names the number that fits.
    """
    free = available_memory()
    need = need_of_worker(task) if free is not None else None
    if free is None or need is None or workers * need <= free:
        return
    fit = free // need
    raise StudyError(
        f"{workers} workers need {_size(workers * need)} of memory, {_size(need)} each, and {_size(free)} are free: "
        f"give --workers {max(1, fit)}{', or free some memory' if fit < 1 else ' or fewer'}"
    )


def need_of_worker(task: Task) -> int | None:
    """Bytes that one more process like this one takes while it trains; None where the system does not tell.

    The measure is this process's own peak while it rehearses a trial at half of the channels, and a margin. The pages
    of files do not count: torch's libraries, most of all, are shared.
    """
    if not sys.platform.startswith("linux"):
        return None
    _forget_peak()
    _rehearse(task)
    values = _fields(Path("/proc/self/status"))
    return round(_MARGIN * (values["VmHWM"] - values["RssFile"]))


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that new processes may take: what the system has, or what is left of this process's control groups' limits.

    Args:
        root: of the file system.
    """
    try:
        free = [_fields(root / "proc/meminfo")["MemAvailable"]]
    except (OSError, KeyError):
        return None
    for folder in _control_groups(root):
        free += _left(folder, "memory.max", "memory.current", "inactive_file")
        free += _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return max(0, min(free))


def _rehearse(task: Task) -> None:
    """A trial's heaviest moments: branches initialised from data, a step beside the teacher, an evaluation."""
    state = torch.get_rng_state()
    device = training_device()
    widths = {group.name: -(-group.width // 2) for group in task.costs.groups if group.prunable}
    recipe = Recipe(shape="instant", parameters={}, fade=0.0, widths=widths, training=Training(lr=1.0))
    teacher = new_network(task.definition).eval()
    network = initialised(recipe, teacher, task).train().to(device)
    optimizer = sgd(network, lr=1e-6, weight_decay=0.0)
    batch = next(iter(task.training_batches(task.definition.trial.batch_size, seed=0)))
    inputs, targets = moved(batch, device)
    with torch.no_grad():
        called(teacher.to(device), inputs)
    task.goal.loss(called(network, inputs), task.goal.targets(inputs, targets)).backward()
    optimizer.step()
    metric_of(network, [next(iter(task.validation_batches()))], task.goal)
    delivered(network, task)
    torch.set_rng_state(state)


def _forget_peak() -> None:
    """Has the kernel count this process's peak anew (proc(5), clear_refs); an old peak would be that of loading."""
    gc.collect()
    with suppress(AttributeError):  # glibc's: what the allocator holds free is nothing that a worker needs
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not everywhere permitted: then the peak is the older one, which is no less
        return


def _control_groups(root: Path) -> Iterator[Path]:
    """The folders of this process's memory control groups, with those above them, of both versions."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        group = top / path.lstrip("/")
        # In a container the path is often the host's, and its own limits lie at the top.
        while group != top and top in group.parents:
            yield group
            group = group.parent
        yield top


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> list[int]:
    """What a control group may still take, caches that the kernel would give up counted as free; none if unlimited."""
    try:
        bound = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        caches = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return []
    if bound == "max" or int(bound) >= _UNLIMITED:
        return []
    return [int(bound) - used + int(caches.get(reclaimable, 0))]


def _fields(path: Path) -> dict[str, int]:
    """The sizes in a file of /proc, in bytes."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1:] == ["kB"]}


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
