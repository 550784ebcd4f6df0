"""The copy of a network that folding works on: what is replaced anyway is not copied first."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from ...layers.copying import deep_copy
from ...layers.kinds import weight_names


def copied_to_fold(network: nn.Module, carriers: Mapping[str, nn.Module], layers: Iterable[str]) -> nn.Module:
    """A copy with other channelwise layers; weights that are yet to be folded are the original's own.

    Args:
        network: the original's layers.
        carriers: path → what stands there in the copy.
        layers: paths of those with such weights.
    """
    layer = network.get_submodule
    weights = [layer(path).get_parameter(name) for path in layers for name in weight_names(layer(path))]
    instead: dict[Tensor | nn.Module, Tensor | nn.Module] = {weight: weight for weight in weights}
    instead |= {layer(path): carrier for path, carrier in carriers.items()}
    for path, carrier in carriers.items():
        for name, child in layer(path).named_children():  # of a layer that the user's code gave some
            carrier._modules[name] = instead.get(child) or deep_copy(child, instead)  # type: ignore[assignment]
    return deep_copy(network, instead)
