"""Branches that are not fitted to data: random ones, and a plain selection of channels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..branches.modules import Blend, Compress
from ..branches.network import BranchedNetwork
from ..branches.plan import Part, kept_places, key_of, path_of
from ..channels.parameters import narrowed
from ..layers.narrowing import has_channel_parameters, reset, with_channels


def initialise_at_random(branched: BranchedNetwork) -> None:
    """Random branches, as in the report: P and E Kaiming-normal, the narrow layers by torch's own defaults."""
    for parameter in (*branched.compress.parameters(), *branched.blend.parameters()):
        if parameter.dim() == 2:
            nn.init.kaiming_normal_(parameter, nonlinearity="linear")
        else:
            nn.init.zeros_(parameter)
    for key, layer in branched.narrow.named_children():
        _reset(layer, branched.plan.carriers[path_of(key)])


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
        for path, group in branched.plan.writers.items():
            compress = branched.compress.get_submodule(key_of(path))
            assert isinstance(compress, Compress)
            compress.weight.copy_(_selector(chosen[group], compress.weight))
        for name, parts in branched.plan.blends.items():
            blend = branched.blend.get_submodule(name)
            assert isinstance(blend, Blend)
            for i, part in enumerate(parts):
                if part.branched:
                    E = blend.expand[str(i)]
                    E.copy_(_selector(chosen[str(part.group)], E.T).T)
    for path, parts in branched.plan.carriers.items():
        layer = branched.network.get_submodule(path)
        places = kept_places(parts, chosen).to(branched.alphas.device)
        branched.narrow[key_of(path)] = with_channels(layer, places)
    for path, part in branched.plan.values.items():
        parameter = branched.network.get_parameter(path)
        branched.values[key_of(path)] = narrowed(parameter, kept_places((part,), chosen))


def _selector(chosen: Tensor, like: Tensor) -> Tensor:
    selector = torch.zeros_like(like)
    selector[torch.arange(len(chosen)), chosen.to(like.device)] = 1
    return selector
