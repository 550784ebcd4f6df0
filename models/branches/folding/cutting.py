"""Folding of branches that only select channels: the others are taken out of the weights, and nothing is multiplied."""

import functools

import torch
from torch import Tensor, nn

from ...channels.parameters import held_tensor, put_tensor, values_at
from ...layers.kinds import by_output
from ...layers.narrowing import own_tensor, set_weight, with_channels
from ..network import Unmade
from ..plan import Part, kept_places
from .copies import copied_to_fold


def cut(unmade: Unmade) -> nn.Module:
    """A copy of the network with the chosen channels alone: what folding the P and E that select them gives."""
    plan = unmade.planning.plan

    @functools.cache  # all that hold a group's channels keep the same
    def kept(parts: tuple[Part, ...]) -> Tensor:
        return kept_places(parts, unmade.chosen)

    carriers = {
        path: with_channels(unmade.network.get_submodule(path), kept(parts)) for path, parts in plan.carriers.items()
    }
    layers = dict.fromkeys((*plan.readers, *plan.writers))
    network = copied_to_fold(unmade.network, carriers, layers)
    with torch.no_grad():
        for path in layers:
            read = kept(plan.blends[plan.readers[path]]) if path in plan.readers else None
            written = kept(plan.writers[path]) if path in plan.writers else None
            _cut_layer(network.get_submodule(path), read, written)
    for path, parts in plan.values.items():
        held = held_tensor(unmade.network, path)
        assert held is not None
        put_tensor(network, path, values_at(held, plan.value_dims[path], kept(parts)))
    return network


def _cut_layer(layer: nn.Module, read: Tensor | None, written: Tensor | None) -> None:
    """Leaves a layer these places (n,) of what it reads and of what it writes, all where None is told."""
    weight, bias = own_tensor(layer, "weight"), own_tensor(layer, "bias")
    assert weight is not None
    weight = by_output(layer, weight)
    if written is not None:
        written = written.to(weight.device)
        weight = weight.index_select(0, written)
        bias = None if bias is None else bias.index_select(0, written)
    if read is not None:
        read, groups = read.to(weight.device), getattr(layer, "groups", 1)
        weight = weight.index_select(1, read) if groups == 1 else _columns_in_groups(weight, read, groups)
    set_weight(layer, by_output(layer, weight), bias)


def _columns_in_groups(weight: Tensor, places: Tensor, groups: int) -> Tensor:
    """The columns of a layer in G groups that read the places (k,) of its input, as many in each group.

    Args:
        weight: (out, C / G, *kernel).
        places: in C, group by group.
        groups: G.

    Returns:
        The weight (out, k / G, *kernel).
    """
    columns = places.view(groups, -1) % weight.shape[1]
    by_group = weight.unflatten(0, (groups, -1))
    return torch.cat([w.index_select(1, c) for w, c in zip(by_group, columns, strict=True)])
