"""How many workers the machine's memory bears: what one of them needs, measured here, and what is free."""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

import torch

from ...errors import StudyError
from ...models.examples import moved, placed
from ..process.machine import available_memory, sizes_in
from ..space import Recipe
from ..space.recipe import Training
from ..training.device import training_device
from ..training.fitting import sgd
from ..trial.measurement import metric_of
from ..trial.problem import Problem, new_network
from ..trial.trial import delivered, initialised

_GIB = 2**30
# What Lightning, the sampler and a longer training add: whole trials took 8 to 15 % more than their rehearsals.
_MARGIN = 1.2


def check_memory(problem: Problem, workers: int) -> None:
    """Checks that so many workers fit into the memory that is free now; where that is not known, they do.

    Raises:
        StudyError: if they do not; names the number that fits.
    """
    free = available_memory()
    need = need_of_worker(problem) if free is not None else None
    if free is None or need is None or workers * need <= free:
        return
    fit = free // need
    raise StudyError(
        f"{workers} workers need {_size(workers * need)} of memory, {_size(need)} each, and {_size(free)} are free: "
        f"give --workers {max(1, fit)}{', or free some memory' if fit < 1 else ' or fewer'}"
    )


def fitting_workers(problem: Problem, workers: int) -> int:
    """As many of the workers as fit into the memory that is free now, one at least."""
    free = available_memory()
    need = need_of_worker(problem) if free is not None and workers > 1 else None
    return workers if free is None or need is None else max(1, min(workers, free // need))


def need_of_worker(problem: Problem) -> int | None:
    """Bytes that one more process like this one takes while it trains; None where the system does not tell.

    The measure is this process's own peak while it rehearses a trial at half of the channels, and a margin. The pages
    of files do not count: torch's libraries, most of all, are shared.
    """
    if not sys.platform.startswith("linux"):
        return None
    _forget_peak()
    _rehearse(problem)
    values = sizes_in(Path("/proc/self/status"))
    return round(_MARGIN * (values["VmHWM"] - values["RssFile"]))


def _rehearse(problem: Problem) -> None:
    """A trial's heaviest moments: branches initialised from data, a step beside the teacher, an evaluation."""
    state = torch.get_rng_state()
    device = training_device(problem.definition.trial.device)
    widths = {group.name: -(-group.width // 2) for group in problem.costs.groups if group.prunable}
    recipe = Recipe(shape="instant", parameters={}, fade=0.0, widths=widths, training=Training(lr=1.0))
    teacher = new_network(problem.definition).eval()
    network = initialised(recipe, teacher, problem).train().to(device)
    optimizer = sgd(network, lr=1e-6, weight_decay=0.0)
    inputs, given = next(iter(problem.training_batches(problem.definition.trial.batch_size, seed=0)))
    with torch.no_grad():
        teacher.to(device)(*placed(inputs, teacher))
    targets = moved(problem.task.targets(inputs, given), device)
    problem.task.loss(network(*placed(inputs, network)), targets).backward()
    optimizer.step()
    metric_of(network, [next(iter(problem.validation_batches()))], problem.task)
    delivered(network, problem)
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


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
