"""A network as a `torch.fx` graph whose nodes know the shapes that flow through them."""

import inspect
import operator
import os
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...errors import NetworkError, one_line
from ..layers.kinds import is_known_whole
from ..layers.modes import preserving_modes
from .inputs import ExampleInputs, as_inputs
from .mode_graphs import merge_modes
from .propagation import alike, run_both
from .sizes import recorded_sizes

# Functions that change their first argument, with the twin that does not.
IN_PLACE_FUNCTIONS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}

_LIBRARIES = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parent}{os.sep}")


@dataclass(frozen=True)
class TracedNetwork:
    """A network's graph.

    For the example inputs, `meta["shape"]` of a node is the shape of the tensor it yields, and `meta["shares"]` holds
    the inputs in whose memory that tensor lies: it is a view of them, or they were changed in place.

    The graph is that of training. Where evaluation gives something else, without auxiliary heads for example,
    `evaluation` is its output in the graph's nodes. `sized` are the layers whose size the code reads.
    """

    network: nn.Module
    graph: fx.Graph
    modules: Mapping[str, nn.Module]
    inputs: tuple[Any, ...]
    evaluation: Any = None
    sized: frozenset[str] = frozenset()

    def evaluated(self) -> set[fx.Node]:
        """The nodes that evaluation runs."""
        if self.evaluation is None:
            return set(self.graph.nodes)
        alive: list[fx.Node] = []
        fx.map_arg(self.evaluation, alive.append)
        seen: set[fx.Node] = set()
        while alive:
            node = alive.pop()
            if node not in seen:
                seen.add(node)
                alive += node.all_input_nodes
        return seen

    def module(self, node: fx.Node) -> nn.Module:
        """The leaf module that a `call_module` node calls."""
        return self.modules[str(node.target)]


def shape_of(node: object) -> tuple[int, ...] | None:
    """The shape of the tensor that a node yields, None if it yields something else."""
    return node.meta.get("shape") if isinstance(node, fx.Node) else None


def trace(network: nn.Module, example_inputs: ExampleInputs) -> TracedNetwork:
    """Traces `network` and propagates the example inputs' shapes; the network itself is left as it was.

    Both modes are traced: where `forward` hands `self.training` to a function such as `F.dropout`, the graph reads the
    mode when it runs; what training alone computes is left out of evaluation.

    Raises:
        NetworkError: if the network cannot be traced (the message names the line that stopped it), computes something
            in evaluation that it does not compute in training, or does not accept the example inputs.
    """
    if not isinstance(network, nn.Module):
        raise NetworkError(f"model must be a network, but got {network!r:.80}")
    inputs = as_inputs(example_inputs)
    # The tracer hangs the constants that it meets on the root module: on shallow copies, so not on the user's.
    network, twin = _shallow_copy(network), _shallow_copy(network)
    with preserving_modes(network):
        with recorded_sizes(network) as sized:
            graph = _trace_mode(network.train(), inputs)
            evaluation = merge_modes(graph, _trace_mode(twin.eval(), inputs))
        network.eval()
        modules = dict(network.named_modules(remove_duplicate=False))
        try:
            with torch.no_grad():
                traced, given = run_both(network, graph, inputs)
        except Exception as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs if isinstance(x, Tensor))
            raise NetworkError(f"the network does not accept inputs of shape {shapes}: {one_line(error)}") from error
    if evaluation is None and not alike(traced, given):
        raise NetworkError(
            f"{type(network).__name__} cannot be traced: its graph gives other outputs than the network itself for the "
            f"example inputs (an operation with `out=`, or Python state that changes from call to call?)"
        )
    return TracedNetwork(network, graph, modules, inputs, evaluation, frozenset(sized))


def _shallow_copy(network: nn.Module) -> nn.Module:
    """What `copy.copy` gives, of a module with parametrized tensors of its own too."""
    twin = object.__new__(type(network))
    twin.__dict__ = {**network.__dict__}
    return twin


class _Proxy(fx.Proxy):
    """Records `x += y` as what it does, changing x in place; torch's own proxy records `x = x + y`."""


def _record_in_place(function: Callable[..., Any]) -> Callable[..., fx.Proxy]:
    def method(self: fx.Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in IN_PLACE_FUNCTIONS:
    setattr(_Proxy, f"__{_function.__name__}__", _record_in_place(_function))


class _Tracer(fx.Tracer):
    """Keeps whole what a rule speaks of by its type; networks that other threads run meanwhile are none of its affair.

    torch patches `nn.Module` for the whole process while it traces.
    """

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        foreign = threading.get_ident() != self.thread
        return forward(*args, **kwargs) if foreign else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        foreign = threading.get_ident() != self.thread
        return attr_val if foreign else super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_known_whole(m) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """An ordered dict stays one: torch's own tracer makes it a plain dict."""
        if type(a) is OrderedDict:
            items = [(key, super(_Tracer, self).create_arg(value)) for key, value in a.items()]
            return self.create_node("call_function", OrderedDict, (items,), {})
        return super().create_arg(a)


def _trace_mode(network: nn.Module, inputs: Sequence[Any]) -> fx.Graph:
    left_out = _left_out(network, len(inputs))
    try:
        graph = _Tracer().trace(network, concrete_args=left_out or None)
        for node in graph.nodes:
            if node.op == "placeholder" and (name := str(node.target).rpartition("_")[0]) in left_out:
                node.target = name  # torch numbers them, but callers know them by their own name
        return graph
    except Exception as error:
        place = _user_line(error)
        reason = one_line(error)
        raise NetworkError(f"{type(network).__name__} cannot be traced{place}: {reason}") from error


def _left_out(network: nn.Module, given: int) -> dict[str, Any]:
    """Arguments of `forward` that no input is given for and whose default decides its way; the graph insists on it."""
    parameters = list(inspect.signature(network.forward).parameters.values())[given:]
    return {p.name: p.default for p in parameters if p.default is None or isinstance(p.default, bool | str)}


def _user_line(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_LIBRARIES)]
    if not frames:
        return ""
    frame = frames[-1]
    return f" at {frame.filename}:{frame.lineno} (`{frame.line}`)"
