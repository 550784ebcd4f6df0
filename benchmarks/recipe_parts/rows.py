"""The rows of the comparison: what a person would do by hand, and what the study found."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.layers.copying import deep_copy
from branchfold.models.networks.factories import build_network
from branchfold.search.run.repeating.finalists import select
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Stages, Training, narrowed
from branchfold.search.training.compute import Length
from branchfold.search.training.fading import BranchTraining
from branchfold.search.training.fitting import fit
from branchfold.search.trial.trial import delivered, run_trial
from branchfold.studies.database.storage import load_study, open_storage

from .bench import Bench

ROWS = (
    "report",
    "scratch",
    "torch-pruning-l1",
    "torch-pruning-group-norm",
    "fold-at-once",
    "probability",
    "searched",
)


class Try(NamedTuple):
    """What a person may choose.

    Attributes:
        lr: peak learning rate.
        augment: as in `[space.training] augment`.
        distillation: weight of the baseline's outputs in the loss.
    """

    lr: float
    augment: bool | str
    distillation: float = 0.0


def tries(*rates: float) -> tuple[Try, ...]:
    """Each rate on augmented images, on images as they are, and on those mirrored or not that the baseline teaches."""
    courses: tuple[tuple[bool | str, float], ...] = ((True, 0.0), (False, 0.0), ("flip", 0.5))
    return tuple(Try(lr, *course) for lr in rates for course in courses)


# What a person would try. The report's rate is its own, and it had no teacher.
TRIES = {
    "report": (Try(0.01, True), Try(0.01, False)),
    "scratch": tries(0.1, 0.05),
    "torch-pruning-l1": tries(0.05, 0.02),
    "torch-pruning-group-norm": tries(0.05, 0.02),
    "fold-at-once": tries(0.05, 0.02),
    "probability": tries(0.05, 0.02),
    "searched": (Try(0.0, False),),  # the recipe has its own
}


def network_of(row: str, bench: Bench, seed: int, tried: Try) -> nn.Module:
    """One row's network, trained."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "scratch": lambda: from_scratch(bench, seed),
        "torch-pruning-l1": lambda: torch_pruned(bench, "l1"),
        "torch-pruning-group-norm": lambda: torch_pruned(bench, "group-norm"),
    }
    if row in makers:
        return fine_tuned(makers[row](), bench, seed, tried)
    recipe = recipe_of(row, bench, tried)
    return run_trial(recipe, bench.baseline, bench.plain, seed=seed, on_report=lambda report: None).network


def recipe_of(row: str, bench: Bench, tried: Try) -> Recipe:
    """The recipe of one of branchfold's own rows."""
    full = {group.name: group.width for group in bench.plain.costs.groups}
    sequence = tuple(narrowed(bench.widths, full, list(bench.widths)))
    training = Training(lr=tried.lr, augment=tried.augment, distillation=tried.distillation)
    once = Recipe("instant", {}, 0.0, bench.widths, training, Stages(sequence=sequence))
    if row == "report":
        # Over the whole trial, random branches, the report's small rate.
        return replace(once, shape="step", parameters={"steps": 10}, fade=1.0, method="kaiming")
    if row == "probability":
        return replace(once, shape="linear", fade=0.3, blending="probability")
    if row == "searched":
        storage = open_storage(bench.storage, create=False)
        found = select(load_study(storage, str(bench.setting)), storage, bench.definition)
        return Recipe.from_dict(found.source.user_attrs["recipe"])
    return once


def fine_tuned(network: nn.Module, bench: Bench, seed: int, tried: Try) -> nn.Module:
    """A plain network trained with the compute of a trial, taught by the baseline where the try says so."""
    torch.manual_seed(seed)
    problem = bench.plain
    table = problem.definition.trial
    recipe = Recipe("instant", {}, 0.0, {}, Training(lr=tried.lr, distillation=tried.distillation))
    taught = problem.taught(bench.baseline, tried.augment) if tried.distillation else None
    module = BranchTraining(
        network.train(),
        recipe,
        problem.task,
        fold=lambda branched, groups: branched,
        length=Length(problem.meter(), compute=table.compute),
        arithmetic=problem.arithmetic,
        teacher=bench.baseline if taught is None else None,
    )
    batches = problem.training_batches(table.batch_size, seed=seed, augment=tried.augment, known=taught)
    fit(module, batches, epochs=-1, callbacks=[], arithmetic=problem.arithmetic)
    return delivered(module.network.cpu(), problem)


def from_scratch(bench: Bench, seed: int) -> nn.Module:
    """The small network with random weights."""
    torch.manual_seed(seed)
    table = bench.definition.model
    full = build_network(table.factory, table.arguments)
    shape = bench.plain.example(2)[0].shape
    small = fold(add_branches(full, torch.zeros(shape), keep=_shares(bench), init="kaiming"))
    for layer in small.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return small


def _shares(bench: Bench) -> dict[str, float]:
    full = {group.name: group.width for group in bench.plain.costs.groups}
    return {name: width / full[name] for name, width in bench.widths.items()}


def torch_pruned(bench: Bench, importance: str) -> nn.Module:
    """The baseline narrowed by Torch-Pruning to the same widths."""
    import torch_pruning

    network, example = deep_copy(bench.baseline), bench.plain.example(1)[0]
    modules = dict(network.named_modules())
    writers = {group.name: group.writers for group in bench.plain.costs.groups if group.prunable}
    full = {group.name: group.width for group in bench.plain.costs.groups}
    ratios = {
        # Torch-Pruning rounds the channels that stay down: half a channel more makes it the number meant.
        modules[writer]: (full[name] - bench.widths[name] - 0.5) / full[name]
        for name, written in writers.items()
        for writer in written
    }
    norm = torch_pruning.importance.MagnitudeImportance(p=1)
    if importance == "group-norm":
        norm = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    outputs = [layer for layer in modules.values() if isinstance(layer, nn.Conv2d | nn.Linear) and layer not in ratios]
    pruner = torch_pruning.pruner.BasePruner(
        network, example, importance=norm, pruning_ratio=0.0, pruning_ratio_dict=ratios, ignored_layers=outputs
    )
    pruner.step()
    _check_widths(network, bench)
    return network


def _check_widths(network: nn.Module, bench: Bench) -> None:
    """Checks that another tool's network costs what the row is to cost."""
    found, wanted = sum(p.numel() for p in network.parameters()), bench.plain.costs.cost(bench.widths).parameters
    if found != wanted:
        raise RuntimeError(f"Torch-Pruning left {found} parameters at {bench.setting}, not {wanted}")
