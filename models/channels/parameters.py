"""Parameters and buffers that a network's own code uses as channels: layer scales, positions, tokens."""

from typing import Any

from torch import Tensor, fx, nn

from ..tracing.graph import shape_of
from .graph import ChannelGraph
from .layouts import Channels, Layout, Segment

# Torch's modules that hold parameters for the user's code.
_LISTS = (nn.ParameterList, nn.ParameterDict)


def value_dim(shape: tuple[int, ...]) -> int | None:
    """The dimension of (C,), (C, 1, 1), (1, C, 1, 1) and the like that holds a value a channel; None for others."""
    wide = [dim for dim, size in enumerate(shape) if size != 1]
    return wide[0] if len(wide) == 1 else None


def follow_values(node: fx.Node, graph: ChannelGraph) -> None:
    """A parameter read by the code has channels of its own, until arithmetic makes them one with a layer's.

    Of one that is wide in several dimensions, arithmetic tells first which of them holds the channels.
    """
    known, shape = graph.held.get(str(node.target)), shape_of(node)
    dim = None if shape is None else value_dim(shape)
    if known is not None:
        graph.carry(node, known)
    elif dim is not None:
        hold(node, dim, graph)


def hold(node: fx.Node, dim: int, graph: ChannelGraph) -> bool:
    """Makes dimension `dim` of the parameter that a node reads channels of its own; False where it must stay."""
    path, shape = str(node.target), shape_of(node)
    if shape is None or not _is_free(path, dim, graph):
        return False
    known = graph.held.setdefault(path, Layout(dim, (Segment(Channels(shape[dim])),)))
    if known.dim == dim:
        graph.carry(node, known)
        graph.tell_values(path, known)
    return known.dim == dim


def _is_free(path: str, dim: int, graph: ChannelGraph) -> bool:
    """Whether folding may put another tensor in place: nothing but the code that was traced knows its size."""
    network = graph.traced.network
    held = held_tensor(network, path)
    if held is None or not held.is_floating_point():
        return False
    owner_path, _, name = path.rpartition(".")
    owner = network.get_submodule(owner_path)
    # No checkpoint tells which values of these were kept; so they must be alike.
    if name in owner._non_persistent_buffers_set and not bool((held == held.narrow(dim, 0, 1)).all()):
        return False
    of_torch = type(owner).__module__.startswith("torch.nn.") and not isinstance(owner, _LISTS)
    return graph.paths_of(held) == [path] and not of_torch


def held_tensor(network: nn.Module, path: str) -> Tensor | None:
    """The parameter or buffer at `path`; None for any other tensor."""
    owner_path, _, name = path.rpartition(".")
    owner = network.get_submodule(owner_path)
    parameter = owner._parameters.get(name)
    return owner._buffers.get(name) if parameter is None else parameter


def put_tensor(network: nn.Module, path: str, value: nn.Parameter) -> None:
    """Puts another parameter, or a buffer's other values, in the place of what `held_tensor` gives."""
    owner_path, _, name = path.rpartition(".")
    owner = network.get_submodule(owner_path)
    if name in owner._parameters:
        owner._parameters[name] = value
    else:
        owner._buffers[name] = value.detach()


def reshaped(node: fx.Node, graph: ChannelGraph) -> Layout | None:
    """The layout of a parameter's values after `node` added or moved dimensions of size 1; None if it did else."""
    source, shape = node.args[0], shape_of(node)
    if not isinstance(source, fx.Node) or source.op != "get_attr" or source not in graph.layouts or shape is None:
        return None
    dim, known = value_dim(shape), graph.layouts[source]
    if dim is None or shape[dim] != known.size or node.kwargs or not _leaves_width_open(node.args[1:], dim):
        return None
    return known.at(dim)


def _leaves_width_open(index: Any, dim: int) -> bool:
    """Whether `view(1, -1, 1)` or `[:, None]` says nothing of how many channels there are."""
    items = index[0] if len(index) == 1 and isinstance(index[0], tuple | list) else index
    if all(item is None or item is Ellipsis or item == slice(None) for item in items):
        return True
    return len(items) > dim and items[dim] == -1


def values_at(held: Tensor, dim: int, places: Tensor) -> nn.Parameter:
    """The values of a parameter or buffer at the channels `places` (k,) of dimension `dim`."""
    return nn.Parameter(held.detach().index_select(dim, places.to(held.device)), held.requires_grad)
