"""Branches that are not fitted to data: random ones, and a plain selection of channels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..branches.blocks import like_blocks
from ..branches.modules import compress_of
from ..branches.network import BranchedNetwork
from ..branches.plan import Part, kept_places
from ..channels.parameters import held_tensor, values_at
from ..layers.kinds import has_channel_parameters
from ..layers.narrowing import reset, with_channels
from .estimates import selector


def initialise_at_random(branched: BranchedNetwork) -> None:
    """Random branches, as in the report: P and E Kaiming-normal, the narrow layers by torch's own defaults."""
    for parameter in (*branched.compress.parameters(), *branched.blend.parameters()):
        if parameter.dim() == 1:
            nn.init.zeros_(parameter)
        for matrix in parameter if parameter.dim() == 3 else [parameter] * (parameter.dim() - 1):
            nn.init.kaiming_normal_(matrix, nonlinearity="linear")
    for path, parts in branched.plan.carriers.items():
        _reset(branched.narrow.at(path), parts)


def _reset(layer: nn.Module, parts: tuple[Part, ...]) -> None:
    """Draws a narrow layer anew, but for the channels of groups without a branch: those are the original's own."""
    if all(part.branched for part in parts):
        return reset(layer)
    stays = torch.cat([torch.full((part.kept * part.span,), not part.branched) for part in parts])
    if not has_channel_parameters(layer):
        return None if stays.any() else reset(layer)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    reset(layer)
    for name, value in layer.state_dict().items():
        if value.dim() > 0:
            value[stays] = before[name][stays]
    return None


def initialise_by_selection(branched: BranchedNetwork, chosen: Mapping[str, Tensor]) -> None:
    """P selects the chosen channels, narrow layers hold their parameters and statistics, E gives the others nothing.

    Folding then takes the chosen channels out of the weights: pruning of filters as it is commonly done.

    Args:
        branched: the network, changed in place.
        chosen: group → indices (k,) of its channels.
    """
    with torch.no_grad():
        for path, parts in branched.plan.writers.items():
            for i, part in enumerate(parts):
                if part.branched:
                    P = compress_of(branched.compress.at(path), i).weight
                    P.copy_(like_blocks(selector(chosen[str(part.group)], part.width, P), P))
        for name, parts in branched.plan.blends.items():
            for i, part in enumerate(parts):
                if part.branched:
                    E = branched.blend.at(name).expand[str(i)]
                    E.copy_(like_blocks(selector(chosen[str(part.group)], part.width, E).T, E))
    for path, parts in branched.plan.carriers.items():
        layer = branched.network.get_submodule(path)
        places = kept_places(parts, chosen).to(branched.alphas.device)
        branched.narrow.put(path, with_channels(layer, places))
    select_values(branched, chosen)


def select_values(branched: BranchedNetwork, chosen: Mapping[str, Tensor]) -> None:
    """Gives the narrow copies of parameters and buffers the values of the chosen channels.

    Args:
        branched: the network, changed in place.
        chosen: group → indices (k,) of its channels.
    """
    for path, parts in branched.plan.values.items():
        held = held_tensor(branched.network, path)
        assert held is not None
        branched.values.put(path, values_at(held, branched.plan.value_dims[path], kept_places(parts, chosen)))
