"""A first look at a network and its data: what a study of them could be, and how long it would take here."""

import inspect
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import nn

from ...models.cost import CostModel
from ...models.examples import arguments, placed
from ...models.fitting.activations import sensitivity
from ...models.layers.copying import deep_copy
from ...models.networks.factories import default_input_shape, resolve_factory
from ...studies.definition.data_keys import DataTable
from ...studies.definition.keys import Budget
from ...studies.definition.reading import parse_definition
from ...studies.metric import Metric
from ...studies.statistics import Interval
from ..data.folder.scan import scan
from ..data.opening import open_data
from ..events import Listener
from ..process.machine import Waiting
from ..space.budget import relative_cost
from ..training.device import training_device
from .baseline import check_alive, first_network
from .chance import at_chance
from .measurement import judged
from .problem import Problem

# A group may keep no less than leaves its readers without more than so much of what they make of it, and has no use for
# more than leaves them without so little: the ends of the range that `per = "sensitivity"` searches by default.
LOST_MOST, LOST_LEAST = 0.3, 0.003
# Least difference of a group's bounds.
_ROOM = 0.2
# Groups with bounds of their own; with more, one threshold for all is searched.
MOST_GROUPS = 40
# Seconds that a trial, and a study, should take.
TRIAL_SECONDS, STUDY_SECONDS = 600.0, 8 * 3600.0
_EPOCHS, _LEAST_EPOCHS = 10, 2
_TRIALS, _LEAST_TRIALS = 50, 10
# Images up to so many pixels a side go into batches of 128, larger ones of 64.
_SMALL = 64
# What lines about mistakes begin with.
_LABEL = "the study to be written"
_LOOKED_AT = 100
# Steps that are timed, after one that is not; the quickest counts.
_TIMED = 3
# Half of a trial trains with branches beside the original, at so many times its cost.
_BRANCHED = 1.3


@dataclass(frozen=True)
class FirstLook:
    """What was found.

    Attributes:
        tables: of the study's definition.
        bounds: group → least and greatest share of its channels; empty where nothing is known of them.
        costs: of the network.
        trial_seconds: that a trial would take about, on a machine as busy as it was.
        waiting: share of the measured time for which other programs had the core.
        baseline: its metric, the value on the validation split and its interval; None where it is still to be trained.
        examples: of that split.
        inputs: of the forward, of two examples.
        notes: lines for the user.
    """

    tables: dict[str, Any]
    bounds: dict[str, tuple[float, float]]
    costs: CostModel
    trial_seconds: float
    waiting: float
    baseline: tuple[Metric, float, Interval | None] | None
    examples: int
    inputs: tuple[Any, ...]
    notes: list[str] = field(default_factory=list)


def first_look(
    model: dict[str, Any], data: dict[str, Any], baseline: dict[str, Any], *, name: str, macs: float, notify: Listener
) -> FirstLook:
    """Looks at a network and its data.

    Args:
        model: the table `[model]`; what the data tell of classes and channels is added.
        data: the table `[data]`; the size of images is added.
        baseline: the table `[baseline]`; empty for one that is to be trained.
        name: of the study.
        macs: budget, as a share of the baseline's MACs.
        notify: receives what is told of the data.

    Raises:
        BranchfoldError: if the network or the data will not do.
    """
    tables: dict[str, Any] = {
        "study": {"name": name, "budget": {"macs": macs}, "trials": _TRIALS},
        "model": model,
        "data": data,
        "baseline": {**baseline},
        "trial": {"epochs": _EPOCHS},
        "search": {},
    }
    parse_definition(tables, _LABEL)
    tables["data"] = with_size(model, data)
    tables["model"] = with_classes(model, tables["data"])
    problem = Problem.of(parse_definition(tables, _LABEL), notify)
    side = max((*problem.inputs[0].shape[2:], 1))
    batch_size = min(128 if side <= _SMALL else 64, max(2, len(problem.data.train)))
    for table in ("baseline", "trial"):
        tables[table]["batch_size"] = batch_size
    definition = parse_definition(tables, _LABEL)
    problem = Problem(definition, problem.data, problem.costs, problem.task)
    network, notes, told, bounds = first_network(definition), [], None, {}
    if definition.baseline.epochs is None:
        check_alive(network, problem)
        found, metric = judged(network, problem.validation_batches(), problem.task), problem.task.metric
        examples = len(problem.data.validation)
        interval = metric.interval(found.value, examples, found.array)
        told = metric, found.value, interval
        if (line := at_chance(found.value, interval, problem)) is not None:
            notes.append(line)
        bounds = bounds_of(network, problem)
    with Waiting() as waiting:
        step = seconds_of_step(network, problem)
    epoch = step * max(1, len(problem.data.train) // batch_size) * (_BRANCHED + macs) / 2
    epochs = int(min(_EPOCHS, max(_LEAST_EPOCHS, TRIAL_SECONDS // max(epoch, 1e-9))))
    trials = int(min(_TRIALS, max(_LEAST_TRIALS, STUDY_SECONDS // max(epochs * epoch, 1e-9))))
    tables["trial"]["epochs"], tables["study"]["trials"] = epochs, trials
    return FirstLook(
        tables,
        bounds,
        problem.costs,
        epochs * epoch,
        waiting.share,
        told,
        len(problem.data.validation),
        problem.inputs,
        notes,
    )


def with_size(model: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The table `[data]` of a folder with a size: what the network is made for, but no more than the images have."""
    if data["name"] != "folder" or "size" in data:
        return data
    folder = scan(Path(data.get("root", "data")), test=DataTable.model_fields["test"].default)
    step = max(1, len(folder.train) // _LOOKED_AT)
    shorter = sorted(side for path in folder.train.paths[::step] if (side := _shorter_side(path)) is not None)
    shape = default_input_shape(model["factory"], {key: value for key, value in model.items() if key != "factory"})
    found = shorter[len(shorter) // 2] if shorter else None
    sizes = [size for size in (found, None if shape is None else min(shape[1:])) if size is not None]
    return {**data, "size": min(sizes)} if sizes else data


def with_classes(model: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The table `[model]` with as many classes and channels as the data have, where the factory takes them."""
    opened = open_data(DataTable.model_validate(data), seed=0)
    inputs = arguments(opened.example(2)) if not isinstance(opened.example(2), dict) else ()
    found: dict[str, Any] = {"num_classes": opened.num_classes}
    if len(inputs) == 1 and inputs[0].dim() == 4:
        found |= dict.fromkeys(("in_channels", "in_chans"), inputs[0].shape[1])
    factory = model["factory"]
    taken = inspect.signature(resolve_factory(factory)).parameters
    if factory.startswith("timm:"):
        known = {"num_classes", "in_chans"}
    else:
        known = set(taken)
        if factory.startswith("torchvision:"):
            known.add("num_classes")
    added = {
        key: value
        for key, value in found.items()
        if value is not None and key in known and key not in model and not _is_default(value, taken.get(key), key)
    }
    return {**model, **added}


def bounds_of(network: nn.Module, problem: Problem) -> dict[str, tuple[float, float]]:
    """Each group's least and greatest share, in twentieths, by what its readers lose; together within the budget."""
    batches = [arguments(inputs) for inputs, _ in problem.calibration_batches]
    curves = sensitivity(network, problem.inputs, batches)
    bounds = {}
    for name, errors in curves.items():
        width = len(errors) - 1
        low, high = (int((errors > lost).sum()) / width for lost in (LOST_MOST, LOST_LEAST))
        low = min(_twentieth(low), 1 - _ROOM)
        bounds[name] = (low, min(1.0, max(_twentieth(high), round(low + _ROOM, 2))))
    return _within(bounds, problem.costs, problem.definition.study.budget)


def seconds_of_step(network: nn.Module, problem: Problem) -> float:
    """Seconds of one training step of the full network on this machine, as busy as it is."""
    device = training_device(problem.definition.trial.device)
    own = deep_copy(network).train().to(device)
    inputs, labels = next(iter(problem.training_batches(problem.definition.trial.batch_size, seed=0)))
    inputs, labels = placed(inputs, own), labels.to(device)
    times = []
    for _ in range(1 + _TIMED):
        begun = time.perf_counter()
        F.cross_entropy(own(*inputs), labels).backward()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def _within(bounds: dict[str, tuple[float, float]], costs: CostModel, budget: Budget) -> dict[str, tuple[float, float]]:
    """The bounds, the least shares lowered alike until they leave room below the budget."""
    full = {group.name: group.width for group in costs.groups}

    def cost(scale: float) -> float:
        return relative_cost({n: max(1, int(scale * low * full[n])) for n, (low, _) in bounds.items()}, costs, budget)

    scale = 1.0
    while cost(scale) > 0.7 and scale > 0.05:
        scale *= 0.9
    if scale == 1.0:
        return bounds
    return {name: (max(0.02, round(scale * low, 2)), high) for name, (low, high) in bounds.items()}


def _twentieth(share: float) -> float:
    return max(0.05, round(round(share * 20) / 20, 2))


def _is_default(value: Any, parameter: Any, key: str) -> bool:
    default = getattr(parameter, "default", None)
    return bool(value == default) or (key == "in_chans" and value == 3)


def _shorter_side(path: Path) -> int | None:
    try:
        with Image.open(path) as image:
            return min(image.size)
    except Exception:  # told when it is read
        return None
