"""A traced graph run beside its network: the shapes that flow, and whether both give the same."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..layers.equivalences import function_of
from ..layers.kinds import CONVOLUTIONS
from ..layers.narrowing import has_hooks
from .inputs import call, copied
from .plain.equivalents import compared, require_equal

# Of the last place of the largest value: graph and network may run attention by different kernels.
_UNITS = 64
# Layers that take most of a forward's time; each is a function of its input alone.
_COSTLY = (*CONVOLUTIONS, nn.Linear)


def run_both(
    network: nn.Module, known: nn.Module, graph: fx.Graph, inputs: Sequence[Any], treated: Mapping[str, nn.Module]
) -> tuple[Any, Any]:
    """The outputs of the graph and of the network itself; the graph's nodes learn their shapes.

    Args:
        network: what is called.
        known: the same layers under the same names, with what else the graph reads.
        graph: of `network`.
        inputs: the forward's arguments.
        treated: paths of layers that are treated as torch's → torch's.

    Raises:
        NetworkError: if one of those is not what it is treated as, or a function is not.
    """
    beside = _ShapePropagation(network, known, graph, copied(inputs))
    handles = [module.register_forward_hook(beside.follow) for module in beside.costly_modules()]
    handles += compared(network, treated)
    try:
        given = call(network, copied(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return beside.finish(), given


class _ShapePropagation(fx.Interpreter):
    """Runs the graph one step behind the network, which lends it the results of costly layers.

    A result is lent only where graph and network call the same layer with equal tensors, but for rounding, and all
    between those layers is computed twice: a graph that differs from the network gets other tensors, and its own
    results from there on.
    """

    def __init__(self, network: nn.Module, known: nn.Module, graph: fx.Graph, inputs: tuple[Any, ...]) -> None:
        super().__init__(known, garbage_collect_values=True, graph=graph)
        self.args_iter = iter(inputs)
        self.ahead = deque(graph.nodes)
        layers = {path: m for path, m in network.named_modules() if type(m) in _COSTLY and not has_hooks(m)}
        called = [node for node in graph.nodes if node.op == "call_module"]
        self.costly = {node: layers[str(node.target)] for node in called if node.target in layers}
        self.calls: dict[nn.Module, deque[fx.Node]] = {layer: deque() for layer in self.costly.values()}
        for node, layer in self.costly.items():
            self.calls[layer].append(node)

    def costly_modules(self) -> set[nn.Module]:
        """The layers that the network is to lend from."""
        return set(self.costly.values())

    def follow(self, module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        """A forward hook: runs the graph up to its next call of the layer, which borrows `result` if it is the same."""
        if not self.calls[module]:
            return
        node = self.calls[module][0]
        while self.ahead[0] is not node:
            self._step()
        if self._receives(node, args):
            self._step(result.clone())

    def finish(self) -> Any:
        """Runs the rest of the graph; its output."""
        while self.ahead[0].op != "output":
            self._step()
        return self.run_node(self.ahead[0])

    def _step(self, lent: Any = None) -> None:
        node = self.ahead.popleft()
        if node in self.costly:
            self.calls[self.costly[node]].popleft()
        result = self._compared(node) if lent is None else lent
        self.env[node] = result
        if isinstance(result, Tensor):
            node.meta["shape"] = tuple(result.shape)
        elif isinstance(result, int):
            node.meta["value"] = result
        elif isinstance(result, tuple | list) and all(isinstance(item, int) for item in result):
            node.meta["value"] = tuple(result)
        elif isinstance(result, tuple | list) and all(isinstance(item, Tensor) for item in result):
            node.meta["shapes"] = [tuple(item.shape) for item in result]
        mine = _storages(result)
        node.meta["shares"] = [source for source in node.all_input_nodes if mine & _storages(self.env[source])]
        for source in self.user_to_last_uses.get(node, ()):
            del self.env[source]

    def _compared(self, node: fx.Node) -> Any:
        """What a node yields; of a function that is treated as one of torch's, both are tried."""
        function = function_of(node.target)
        if node.op != "call_function" or function is node.target:
            return self.run_node(node)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        theirs, result = function(*copied(args), **kwargs), self.run_node(node)
        require_equal(result, theirs, f"treat_as({_name(node.target)}, {_name(function)})")
        return result

    def _receives(self, node: fx.Node, args: tuple[Any, ...]) -> bool:
        mine, kwargs = self.fetch_args_kwargs_from_env(node)
        tensors = len(mine) == len(args) == 1 and isinstance(mine[0], Tensor) and not kwargs
        return tensors and _equal(mine[0], args[0])


def _equal(mine: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors are the same but for the order in which sums were taken."""
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        return False
    if torch.equal(mine, theirs) or not mine.is_floating_point():
        return torch.equal(mine, theirs)
    limit = _UNITS * torch.finfo(mine.dtype).eps * theirs.abs().max()
    return bool((mine - theirs).abs().max() <= limit)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def alike(traced: Any, given: Any) -> bool:
    """Whether two outputs hold the same tensors, up to rounding."""
    if isinstance(given, Tensor):
        return isinstance(traced, Tensor) and torch.allclose(traced, given, rtol=1e-2, atol=1e-3, equal_nan=True)
    if isinstance(given, Mapping):
        given, traced = list(given.values()), list(traced.values())
    if isinstance(given, list | tuple):
        return len(traced) == len(given) and all(map(alike, traced, given))
    return True


def _storages(value: Any) -> set[int]:
    tensors = [value] if isinstance(value, Tensor) else value if isinstance(value, list | tuple) else []
    return {x.untyped_storage().data_ptr() for x in tensors if isinstance(x, Tensor) and x.numel() > 0}
