"""One call of a network, recorded: its arguments made placeholders, torch's ways in led to the recorder meanwhile."""

import inspect
import math
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn

from ....errors import NetworkError
from ...layers.equivalences import Applied, treated_functions
from ...layers.patching import replaced
from ..attention.multihead import is_multihead, multihead_attention
from ..plain.finding import PlainLayer, depends_on_the_mode, find_plain_layers
from .attributes import Use
from .numbers import Origin, is_traced
from .recorder import Listening, Recorder
from .sizes import recorded_sizes

_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_PURE = {getattr, operator.getitem, *(getattr(operator, name) for name in _ARITHMETIC)}


@dataclass(frozen=True)
class Recording:
    """What one call of a network did.

    Attributes:
        graph: its nodes; `meta["shape"]` and `meta["shares"]` as in a `TracedNetwork`.
        modes_read: modules whose mode the forward asked for.
        uses: of numbers that modules hold, which are not followed.
        sized: modules whose size, or whose tensors' size, it asked for.
        hooked: layers whose hooks change what these are given or yield, or what hooks do cannot be told.
        constants: name of an attribute that the graph reads → tensor that is no attribute of the network.
        plain: layers that the code writes out, by their paths.
    """

    graph: fx.Graph
    modes_read: frozenset[nn.Module]
    uses: tuple[Use, ...]
    sized: frozenset[str]
    hooked: frozenset[str]
    constants: dict[str, Tensor]
    plain: dict[str, PlainLayer]

    def asks_for_the_mode(self) -> bool:
        """Whether the other mode may give another graph."""
        return bool(self.modes_read) or depends_on_the_mode(self.plain)


def record(network: nn.Module, inputs: Sequence[Any]) -> Recording:
    """Records what the network does in the mode that it is in; nothing is computed."""
    recorder = Recorder(network)
    args, kwargs = _arguments(recorder, network, inputs)
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        recorded_sizes(network, recorder),
        _redirected(recorder),
    ):
        with Listening(recorder):
            result = network(*args, **kwargs)
        recorder.create_node("output", "output", (recorder.create_arg(result),), {})
    _remove_unused(recorder.graph)
    plain = find_plain_layers(recorder.graph, network, recorder.spans())
    uses = tuple(dict.fromkeys(recorder.uses))
    read, sized = frozenset(recorder.modes_read), frozenset(recorder.sized)
    return Recording(recorder.graph, read, uses, sized, frozenset(recorder.hooked), recorder.constants, plain)


def expect_argument(value: Any, found: Any, name: str) -> None:
    """What a graph calls for an argument that decides the forward's way.

    Raises:
        NetworkError: if the argument is another than that which the network was traced with.
    """
    if value is not found and (isinstance(value, Tensor) or found is None or value != found):
        told = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise NetworkError(
            f"the network was traced with {name}={found!r}, but got {told:.80}; trace it with such inputs"
        )


def _arguments(recorder: Recorder, network: nn.Module, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The forward's arguments as placeholders: tensors and numbers are followed, others decide its way."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    fixed: list[tuple[fx.Node, Any]] = []
    rest = list(inputs)
    for name, parameter in inspect.signature(network.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            if rest:
                node = recorder.create_node("placeholder", f"*{name}", (), {})
                args += recorder.given(tuple(rest), _at(node))
                rest = []
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        positional = parameter.kind is not parameter.KEYWORD_ONLY
        default = () if parameter.default is parameter.empty else (parameter.default,)
        if not rest and not default:
            break  # the call will tell what is missing
        node = recorder.create_node("placeholder", name, default, {})
        value = rest.pop(0) if rest else parameter.default
        if value is None or isinstance(value, bool | str):
            fixed.append((node, value))
        else:
            value = recorder.given(value, _at(node))
        if positional:
            args.append(value)
        else:
            kwargs[name] = value
    for node, value in fixed:
        recorder.create_node("call_function", expect_argument, (node, value, str(node.target)), {})
    return [*args, *rest], kwargs


def _at(node: fx.Node) -> Origin:
    return Origin(lambda: node)


@contextmanager
def _redirected(recorder: Recorder) -> Iterator[None]:
    """Calls of layers, of functions that are treated as torch's, and of autograd functions go to the recorder.

    So do `math.sqrt` of sizes, and `len` in the files of the network's classes: Python's own makes a plain number of
    what a tensor says.
    """
    call, apply = nn.Module.__call__, torch.autograd.Function.__dict__["apply"]
    treated = _named_anywhere([f for f in treated_functions() if inspect.isfunction(f)])
    before = [scope[name] for scope, name in treated]

    def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if module is recorder.root or not recorder.is_listening():
            return call(module, *args, **kwargs)
        if isinstance(module, nn.DataParallel) and not module.device_ids:
            return module.module(*args, **kwargs)  # all that it does then
        if recorder.is_leaf_module(module, ""):
            return recorder.leaf(module, args, kwargs, call)
        given = recorder.only(args, kwargs)
        with recorder.entered(module):
            if is_multihead(module):
                path = recorder.path_of_module(module)
                result: Any = multihead_attention(module, path, recorder, *args, **kwargs)  # type: ignore[arg-type]
            else:
                result = call(module, *args, **kwargs)
        recorder.note_span(module, given, result)
        return result

    def applied(kind: Any, *args: Any, **kwargs: Any) -> Any:
        if not recorder.is_listening():
            return apply.__get__(None, kind)(*args, **kwargs)
        return recorder.whole(Applied(kind), args, kwargs)

    def root(number: Any) -> Any:
        return recorder.computed(square_root, (number,)) if is_traced(number) else square_root(number)

    def length(value: Any) -> Any:
        listens = isinstance(value, Tensor) and recorder.is_listening()
        return value.shape[0] if listens else len(value)

    counting = [scope for scope in _scopes(recorder.root) if "len" not in scope]
    square_root = math.sqrt
    try:
        math.sqrt = root
        for scope in counting:
            scope["len"] = length
        torch.autograd.Function.apply = classmethod(applied)
        for (scope, name), function in zip(treated, before, strict=True):
            scope[name] = _kept_whole(recorder, function)
        with replaced(recorder.root, "__call__", called):
            yield
    finally:
        math.sqrt = square_root
        for scope in counting:
            del scope["len"]
        torch.autograd.Function.apply = apply
        for (scope, name), function in zip(treated, before, strict=True):
            scope[name] = function


def _scopes(network: nn.Module) -> list[dict[str, Any]]:
    """What is global in the files of the user's classes."""
    kinds = {kind for own in {type(module) for module in network.modules()} for kind in own.__mro__}
    files = {kind.__module__: sys.modules.get(kind.__module__) for kind in kinds if not _is_torchs(kind)}
    return [vars(file) for file in files.values() if file is not None]


def _is_torchs(kind: type) -> bool:
    return kind is object or kind.__module__ == "torch" or kind.__module__.startswith("torch.")


def _named_anywhere(functions: Sequence[Any]) -> list[tuple[dict[str, Any], str]]:
    """Where the files that are loaded have names for these functions."""
    ids = {id(function) for function in functions}
    scopes = [vars(file) for file in list(sys.modules.values()) if isinstance(file, ModuleType)] if ids else []
    return [(scope, name) for scope in scopes for name, value in list(scope.items()) if id(value) in ids]


def _kept_whole(recorder: Recorder, function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        if not recorder.is_listening():
            return function(*args, **kwargs)
        return recorder.whole(function, args, kwargs)

    return called


def _remove_unused(graph: fx.Graph) -> None:
    """Sizes and attributes that the forward read and made nothing of."""
    for node in reversed(list(graph.nodes)):
        reads = node.op == "get_attr" or (node.op == "call_function" and node.target in _PURE)
        if reads and not node.users and not (node.op == "call_function" and _is_computed(node)):
            graph.erase_node(node)


def _is_computed(node: fx.Node) -> bool:
    """Whether it computes a tensor that nothing reads, which is left to whoever builds a graph of this one."""
    return "shape" in node.meta and node.target not in (getattr, operator.getitem)
