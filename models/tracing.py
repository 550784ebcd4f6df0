"""A network as a `torch.fx` graph whose nodes know the shapes that flow through them."""

import copy
import inspect
import operator
import os
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import NetworkError
from .modes import preserving_modes
from .narrowing import CONVOLUTIONS, FROZEN_BATCH_NORM, has_hooks, qualified_name
from .sizes import recorded_sizes

ExampleInputs = Tensor | Sequence[Any]

# Functions that change their first argument, with the twin that does not.
IN_PLACE_FUNCTIONS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}

# Layers that take most of a forward's time; each is a function of its input alone.
_COSTLY = (*CONVOLUTIONS, nn.Linear)

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


def as_inputs(example_inputs: ExampleInputs) -> tuple[Any, ...]:
    """Example inputs as the positional arguments of a forward call.

    Raises:
        NetworkError: if there is no tensor among them, or the first has no batch dimension.
    """
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    inputs = tuple(given) if isinstance(given, Sequence) else ()
    if not inputs or not isinstance(inputs[0], Tensor):
        raise NetworkError(f"example_inputs must be a tensor or a sequence of tensors, but got {example_inputs!r:.80}")
    if inputs[0].dim() < 2 or len(inputs[0]) == 0:
        shape = tuple(inputs[0].shape)
        raise NetworkError(f"example_inputs need a batch dimension with an example in it, but got the shape {shape}")
    return inputs


def copied(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The inputs with tensors of their own, for a forward that changes its input in place."""
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)


def trace(network: nn.Module, example_inputs: ExampleInputs) -> TracedNetwork:
    """Traces `network` and propagates the example inputs' shapes; the network itself is left as it was.

    Both modes are traced: where `forward` hands `self.training` to a function such as `F.dropout`, the graph reads the
    mode when it runs; what training alone computes is left out of evaluation.

    Raises:
        NetworkError: if the network cannot be traced (the message names the line that stopped it), computes something
            in evaluation that it does not compute in training, or does not accept the example inputs.
    """
    inputs = as_inputs(example_inputs)
    # The tracer hangs the constants that it meets on the root module: on shallow copies, so not on the user's.
    network, twin = copy.copy(network), copy.copy(network)
    with preserving_modes(network):
        with recorded_sizes(network) as sized:
            graph = _trace_mode(network.train(), inputs)
            evaluation = _merge_modes(graph, _trace_mode(twin.eval(), inputs))
        network.eval()
        modules = dict(network.named_modules(remove_duplicate=False))
        try:
            with torch.no_grad():
                traced, given = _run_both(network, graph, inputs)
        except Exception as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs if isinstance(x, Tensor))
            raise NetworkError(f"the network does not accept inputs of shape {shapes}: {_first_line(error)}") from error
    if evaluation is None and not _alike(traced, given):
        raise NetworkError(
            f"{type(network).__name__} cannot be traced: its graph gives other outputs than the network itself for the "
            f"example inputs (an operation with `out=`, or Python state that changes from call to call?)"
        )
    return TracedNetwork(network, graph, modules, inputs, evaluation, frozenset(sized))


class _Proxy(fx.Proxy):
    """Records `x += y` as what it does, changing x in place; torch's own proxy records `x = x + y`."""


def _record_in_place(function: Callable[..., Any]) -> Callable[..., fx.Proxy]:
    def method(self: fx.Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _function in IN_PLACE_FUNCTIONS:
    setattr(_Proxy, f"__{_function.__name__}__", _record_in_place(_function))


class _Tracer(fx.Tracer):
    """Keeps whole what a rule speaks of by its type."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return qualified_name(type(m)) == FROZEN_BATCH_NORM or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """An ordered dict stays one: torch's own tracer makes it a plain dict."""
        if type(a) is OrderedDict:
            items = [(key, super(_Tracer, self).create_arg(value)) for key, value in a.items()]
            return self.create_node("call_function", OrderedDict, (items,), {})
        return super().create_arg(a)


def _trace_mode(network: nn.Module, inputs: Sequence[Any]) -> fx.Graph:
    try:
        return _Tracer().trace(network, concrete_args=_left_out(network, len(inputs)) or None)
    except Exception as error:
        place = _user_line(error)
        reason = _first_line(error)
        raise NetworkError(f"{type(network).__name__} cannot be traced{place}: {reason}") from error


def _left_out(network: nn.Module, given: int) -> dict[str, Any]:
    """Arguments of `forward` that no input is given for and whose default decides its way; the graph insists on it."""
    parameters = list(inspect.signature(network.forward).parameters.values())[given:]
    return {p.name: p.default for p in parameters if p.default is None or isinstance(p.default, bool | str)}


def _merge_modes(graph: fx.Graph, evaluated: fx.Graph) -> Any:
    """Finds the graph of evaluation in that of training; arguments that are the mode itself are read at run time.

    Returns:
        The output of evaluation in nodes of `graph`; None where both modes give the same.
    """
    found: dict[fx.Node, fx.Node] = {}
    candidates = iter(list(graph.nodes))
    for node in evaluated.nodes:
        if node.target is OrderedDict:
            found[node] = _container(graph, node, found)
            continue
        for twin in candidates:
            modes = _mode_arguments(node, twin, found)
            if node.op == "output" or modes is not None:
                break
        else:
            raise NetworkError(
                "the network's forward computes in evaluation what it does not compute in training; give it one path"
            )
        if node.op == "output":
            break
        assert modes is not None
        found[node] = twin
        if modes:
            _read_mode(graph, twin, modes)
    outputs = [next(n for n in reversed(g.nodes) if n.op == "output") for g in (graph, evaluated)]
    result = fx.map_arg(outputs[1].args[0], found.__getitem__)
    same = len(found) == len([n for n in graph.nodes if not _is_mode(n)]) - 1 and str(result) == str(outputs[0].args[0])
    return None if same else result


def _container(graph: fx.Graph, node: fx.Node, found: Mapping[fx.Node, fx.Node]) -> fx.Node:
    """The node of `graph` that puts the same tensors into an ordered dict, made where training returns others."""
    for twin in graph.nodes:
        if _mode_arguments(node, twin, found) is not None:
            return twin
    with graph.inserting_before(next(n for n in reversed(graph.nodes) if n.op == "output")):
        return graph.node_copy(node, found.__getitem__)


def _mode_arguments(node: fx.Node, twin: fx.Node, found: Mapping[fx.Node, fx.Node]) -> list[int | str] | None:
    """Which arguments are False in evaluation and True in training; None if the nodes do different things."""
    if (node.op, node.target) != (twin.op, twin.target) or len(node.args) != len(twin.args):
        return None
    if node.kwargs.keys() != twin.kwargs.keys() or any(source not in found for source in node.all_input_nodes):
        return None
    mine, theirs = _arguments(node), _arguments(twin)
    modes: list[int | str] = []
    for key, value in mine.items():
        if value is False and theirs[key] is True:
            modes.append(key)
        elif str(fx.map_arg(value, found.__getitem__)) != str(theirs[key]):
            return None
    return modes


def _arguments(node: fx.Node) -> dict[int | str, Any]:
    arguments: dict[int | str, Any] = dict(enumerate(node.args))
    arguments.update(node.kwargs)
    return arguments


def _read_mode(graph: fx.Graph, node: fx.Node, arguments: list[int | str]) -> None:
    with graph.inserting_before(node):
        # The stack's keys count repeated calls ("block@1"), its values start with the plain path.
        owner = next(reversed((node.meta.get("nn_module_stack") or {"": ("",)}).values()))[0]
        mode = graph.get_attr(f"{owner}.training" if owner else "training")
    node.args = tuple(mode if i in arguments else a for i, a in enumerate(node.args))
    node.kwargs = {key: mode if key in arguments else value for key, value in node.kwargs.items()}


def _is_mode(node: fx.Node) -> bool:
    return node.op == "get_attr" and str(node.target).rpartition(".")[2] == "training"


def _run_both(network: nn.Module, graph: fx.Graph, inputs: Sequence[Any]) -> tuple[Any, Any]:
    """The outputs of the graph and of the network itself; the graph's nodes learn their shapes."""
    beside = _ShapePropagation(network, graph, copied(inputs))
    handles = [module.register_forward_hook(beside.follow) for module in beside.costly_modules()]
    try:
        given = network(*copied(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return beside.finish(), given


class _ShapePropagation(fx.Interpreter):
    """Runs the graph one step behind the network, which lends it the results of costly layers.

    A result is lent only where graph and network call the same layer with equal tensors, and all between those layers
    is computed twice: a graph that differs from the network gets other tensors, and its own results from there on.
    """

    def __init__(self, network: nn.Module, graph: fx.Graph, inputs: tuple[Any, ...]) -> None:
        super().__init__(network, garbage_collect_values=True, graph=graph)
        self.args_iter = iter(inputs)
        self.ahead = deque(graph.nodes)
        layers = {path: m for path, m in self.submodules.items() if type(m) in _COSTLY and not has_hooks(m)}
        called = [node for node in graph.nodes if node.op == "call_module"]
        self.costly = {node: layers[str(node.target)] for node in called if node.target in layers}

    def costly_modules(self) -> set[nn.Module]:
        """The layers that the network is to lend from."""
        return set(self.costly.values())

    def follow(self, module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        """A forward hook: runs the graph up to its next costly layer, which borrows `result` if it is the same call."""
        while self.ahead[0] not in self.costly and self.ahead[0].op != "output":
            self._step()
        node = self.ahead[0]
        if self.costly.get(node) is module and self._receives(node, args):
            self._step(result.clone())

    def finish(self) -> Any:
        """Runs the rest of the graph; its output."""
        while self.ahead[0].op != "output":
            self._step()
        return self.run_node(self.ahead[0])

    def _step(self, lent: Any = None) -> None:
        node = self.ahead.popleft()
        result = self.run_node(node) if lent is None else lent
        self.env[node] = result
        if isinstance(result, Tensor):
            node.meta["shape"] = tuple(result.shape)
        mine = _storages(result)
        node.meta["shares"] = [source for source in node.all_input_nodes if mine & _storages(self.env[source])]
        for source in self.user_to_last_uses.get(node, ()):
            del self.env[source]

    def _receives(self, node: fx.Node, args: tuple[Any, ...]) -> bool:
        mine, kwargs = self.fetch_args_kwargs_from_env(node)
        tensors = len(mine) == len(args) == 1 and isinstance(mine[0], Tensor) and not kwargs
        return tensors and mine[0].dtype == args[0].dtype and torch.equal(mine[0], args[0])


def _alike(traced: Any, given: Any) -> bool:
    """Whether two outputs hold the same tensors, up to rounding."""
    if isinstance(given, Tensor):
        return isinstance(traced, Tensor) and torch.allclose(traced, given, rtol=1e-2, atol=1e-3, equal_nan=True)
    if isinstance(given, Mapping):
        given, traced = list(given.values()), list(traced.values())
    if isinstance(given, list | tuple):
        return len(traced) == len(given) and all(map(_alike, traced, given))
    return True


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
