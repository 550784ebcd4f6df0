"""A network as a `torch.fx` graph whose nodes know the shapes that flow through them."""

import copy
import operator
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import NetworkError

ExampleInputs = Tensor | Sequence[Any]

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
    """

    network: nn.Module
    graph: fx.Graph
    modules: Mapping[str, nn.Module]
    inputs: tuple[Any, ...]

    def module(self, node: fx.Node) -> nn.Module:
        """The leaf module that a `call_module` node calls."""
        return self.modules[str(node.target)]


def shape_of(node: object) -> tuple[int, ...] | None:
    """The shape of the tensor that a node yields, None if it yields something else."""
    return node.meta.get("shape") if isinstance(node, fx.Node) else None


def as_inputs(example_inputs: ExampleInputs) -> tuple[Any, ...]:
    """Example inputs as the positional arguments of a forward call.

    Raises:
        NetworkError: if there is no tensor among them, or the first has no batch dimension.
    """
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    inputs = tuple(given) if isinstance(given, Sequence) else ()
    if not inputs or not isinstance(inputs[0], Tensor):
        raise NetworkError(f"example_inputs must be a tensor or a sequence of tensors, but got {example_inputs!r:.80}")
    if inputs[0].dim() < 2:
        raise NetworkError(f"example_inputs need a batch dimension, but got the shape {tuple(inputs[0].shape)}")
    return inputs


def copied(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The inputs with tensors of their own, for a forward that changes its input in place."""
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)


def trace(network: nn.Module, example_inputs: ExampleInputs) -> TracedNetwork:
    """Traces `network` and propagates the example inputs' shapes; the network itself is left as it was.

    Both modes are traced: where `forward` hands `self.training` to a function such as `F.dropout`, the graph reads the
    mode when it runs.

    Raises:
        NetworkError: if the network cannot be traced (the message names the line that stopped it), does something else
            in training than in evaluation, or does not accept the example inputs.
    """
    inputs = as_inputs(example_inputs)
    # The tracer hangs the constants that it meets on the root module: on shallow copies, so not on the user's.
    network, twin = copy.copy(network), copy.copy(network)
    training = {name: module.training for name, module in network.named_modules()}
    try:
        graph = _trace_mode(network.eval())
        _read_mode_at_run_time(graph, _trace_mode(twin.train()))
        network.eval()
        modules = dict(network.named_modules(remove_duplicate=False))
        try:
            with torch.no_grad():
                _ShapePropagation(network, graph).run(*copied(inputs))
        except Exception as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs if isinstance(x, Tensor))
            raise NetworkError(f"the network does not accept inputs of shape {shapes}: {_first_line(error)}") from error
    finally:
        for name, module in network.named_modules():
            module.training = training[name]
    return TracedNetwork(network, graph, modules, inputs)


class _Proxy(fx.Proxy):
    """Records `x += y` as what it does, changing x in place; torch's own proxy records `x = x + y`."""


def _record_in_place(function: Callable[..., Any]) -> Callable[..., fx.Proxy]:
    def method(self: fx.Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in IN_PLACE_FUNCTIONS:
    setattr(_Proxy, f"__{_function.__name__}__", _record_in_place(_function))


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


def _trace_mode(network: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(network)
    except Exception as error:
        place = _user_line(error)
        reason = _first_line(error)
        raise NetworkError(f"{type(network).__name__} cannot be traced{place}: {reason}") from error


def _read_mode_at_run_time(graph: fx.Graph, in_training: fx.Graph) -> None:
    """Replaces every argument that is False in evaluation and True in training by the running network's mode."""
    nodes, twins = list(graph.nodes), list(in_training.nodes)
    differs = len(nodes) != len(twins)
    for node, twin in zip(nodes, twins, strict=False):
        differs = differs or (node.op, str(node.target), node.name) != (twin.op, str(twin.target), twin.name)
        differs = differs or len(node.args) != len(twin.args) or node.kwargs.keys() != twin.kwargs.keys()
        if differs:
            break
        changed = [i for i, (a, b) in enumerate(zip(node.args, twin.args, strict=True)) if str(a) != str(b)]
        changed_keys = [key for key in node.kwargs if str(node.kwargs[key]) != str(twin.kwargs[key])]
        values = [node.args[i] for i in changed] + [node.kwargs[key] for key in changed_keys]
        if not values:
            continue
        if any(value is not False for value in values):
            differs = True
            break
        with graph.inserting_before(node):
            # The stack's keys count repeated calls ("block@1"), its values start with the plain path.
            owner = next(reversed((node.meta.get("nn_module_stack") or {"": ("",)}).values()))[0]
            mode = graph.get_attr(f"{owner}.training" if owner else "training")
        node.args = tuple(mode if i in changed else a for i, a in enumerate(node.args))
        node.kwargs = {key: mode if key in changed_keys else value for key, value in node.kwargs.items()}
    if differs:
        raise NetworkError(
            "the network's forward computes something else in training than in evaluation; "
            "give it one path (auxiliary heads off, for example) before it is branched"
        )


class _ShapePropagation(fx.Interpreter):
    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, garbage_collect_values=True, graph=graph)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        mine = _storages(result)
        n.meta["shares"] = [source for source in n.all_input_nodes if mine & _storages(self.env[source])]
        return result


def _storages(value: Any) -> set[int]:
    tensors = [value] if isinstance(value, Tensor) else value if isinstance(value, list | tuple) else []
    return {x.untyped_storage().data_ptr() for x in tensors if isinstance(x, Tensor) and x.numel() > 0}


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _user_line(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_LIBRARIES)]
    if not frames:
        return ""
    frame = frames[-1]
    return f" at {frame.filename}:{frame.lineno} (`{frame.line}`)"
