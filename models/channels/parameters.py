"""Parameters that a network's own code uses, one value a channel: layer scales, offsets. They are narrowed along."""

from typing import Any

from torch import Tensor, fx, nn

from ..tracing.graph import shape_of
from .graph import ChannelGraph
from .layouts import Channels, Layout, Segment


def value_dim(shape: tuple[int, ...]) -> int | None:
    """The dimension of (C,), (C, 1, 1), (1, C, 1, 1) and the like that holds a value a channel; None for others."""
    wide = [dim for dim, size in enumerate(shape) if size != 1]
    return wide[0] if len(wide) == 1 else None


def follow_values(node: fx.Node, graph: ChannelGraph) -> None:
    """A parameter read by the code has channels of its own, until arithmetic makes them one with a layer's."""
    path, shape = str(node.target), shape_of(node)
    dim = None if shape is None else value_dim(shape)
    if shape is not None and dim is not None and _is_free(path, graph):
        graph.carry(node, Layout(dim, (Segment(Channels(shape[dim])),)))
        graph.tell_values(path, graph.layouts[node])


def _is_free(path: str, graph: ChannelGraph) -> bool:
    """Whether folding may put another parameter in place: nothing but the code that was traced knows its size."""
    network = graph.traced.network
    parameter = dict(network.named_parameters(remove_duplicate=False)).get(path)
    names = [name for name, other in network.named_parameters(remove_duplicate=False) if other is parameter]
    owner = network.get_submodule(path.rpartition(".")[0])
    of_torch = type(owner).__module__.startswith("torch.nn.")
    return names == [path] and not of_torch


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


def values_at(parameter: Tensor, places: Tensor) -> nn.Parameter:
    """The values of the channels `places` (k,)."""
    dim = value_dim(tuple(parameter.shape))
    assert dim is not None
    return nn.Parameter(parameter.detach().index_select(dim, places.to(parameter.device)), parameter.requires_grad)
