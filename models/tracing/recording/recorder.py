"""Records what a network's forward does while it runs on tensors without values: shapes are known, values are not."""

import functools
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode, _pop_mode_temporarily

from ...layers.equivalences import equivalence_of, function_of
from ...layers.kinds import is_known_whole
from ..attention.multihead import CONTAINERS, is_multihead
from ..attention.steps import attention_weights
from ..plain.equivalents import torchs_layer
from .attributes import AttributeNumber, Use
from .flow import Flow
from .hooks import watched_hooks
from .numbers import Origin, insisted, is_traced, plain
from .places import is_users, place
from .valueless import run_without_values
from .values import CONSTANT_READS, VALUE_READS, UntraceableError, constant_value

# Methods that Python calls for an operator with the operands swapped, or that have no name of their own.
_OPERATORS: dict[str, tuple[Callable[..., Any], bool]] = {
    "__rsub__": (operator.sub, True),
    "__rdiv__": (operator.truediv, True),
    "__rtruediv__": (operator.truediv, True),
    "__rpow__": (operator.pow, True),
    "__rmatmul__": (operator.matmul, True),
    "__rfloordiv__": (operator.floordiv, True),
    "__rmod__": (operator.mod, True),
    "__floordiv__": (operator.floordiv, False),
    "__getitem__": (operator.getitem, False),
    "__setitem__": (operator.setitem, False),
}
# What torch tells of them costs 30 ms when it is first asked.
_METHODS = {method for kind in Tensor.__mro__ for method in vars(kind).values() if callable(method)}
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_PARTED = ("unbind", "split", "chunk", "tensor_split", "split_with_sizes")


def expect_parts(parts: Any, found: int, place: str) -> None:
    """What a graph calls where a tensor was taken apart: Python has seen how many parts there are.

    Raises:
        NetworkError: if there are as many no longer.
    """
    insisted(len(parts), found, place)


class Recorder(Flow):
    """Makes a graph of one call of a network.

    The forward runs as Python does, on tensors of torch's "meta" device that carry the node they came from: shapes,
    dtypes and devices are what they are, and nothing is computed. What comes of the parameters' and buffers' values is
    recorded as well, so that neither is read nor written. Layers of torch's are recorded whole.

    Attributes:
        modes_read: modules whose mode the forward asked for.
        uses: of numbers that modules hold, which are not followed.
        hooked: paths of layers whose hooks change what these are given or yield.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.modes_read: set[nn.Module] = set()
        self.uses: list[Use] = []
        self.hooked: set[str] = set()
        self._treated: dict[str, nn.Module] = {}
        self._spans: list[tuple[str, Origin, Origin]] = []

    def note_use(self, operation: str, number: AttributeNumber, other: Any) -> None:
        """Notes what the user's code decides by a number that a module holds, or computes with it."""
        decides = operation in _COMPARISONS
        if decides and type(other) not in (int, bool, AttributeNumber):
            return
        if self.is_listening() and is_users(sys._getframe(2)):
            self.uses.append(Use(number, other if decides else 0, operation if decides else "", place()))

    def only(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Origin | None:
        """Where the one tensor came from that a module is called with, as it is then; None for other calls."""
        return self.origin(args[0]) if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) else None

    def note_span(self, module: nn.Module, given: Origin | None, result: Any) -> None:
        """Notes what a module with parameters of its own makes of a tensor."""
        path = (self.submodule_paths or {}).get(module)
        out = self.origin(result) if isinstance(result, Tensor) else None
        if path and module._parameters and given is not None and out is not None:
            self._spans.append((path, given, out))

    def spans(self) -> dict[fx.Node, list[tuple[str, fx.Node]]]:
        """What modules with parameters yield → their paths, inner ones first, and what each is called with."""
        found: dict[fx.Node, list[tuple[str, fx.Node]]] = {}
        for path, given, out in self._spans:
            found.setdefault(out.node, []).append((path, given.node))
        return found

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records one call of a function of torch's, and what it would yield."""
        if self.inside:
            return self._run(function, args, kwargs)
        name = getattr(function, "__name__", "")
        if name == "__get__":
            return self.attribute(function.__self__.__name__, function, args[0])
        if name == "__set__" and not args[0].is_meta:
            raise UntraceableError(f"assigns a parameter's {function.__self__.__name__}")
        if name in VALUE_READS:
            return self._value(function, args, kwargs)
        if name in CONSTANT_READS:
            return self._run(function, args, kwargs)
        if function is torch._assert and not isinstance(args[0], Tensor):  # of sizes, what it says is recorded by now
            return function(*args, **kwargs)
        if name == "size":
            sizes = self.attribute("shape", Tensor.shape.__get__, args[0])  # type: ignore[attr-defined]
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return sizes if dim is None else sizes[dim]
        if name == "__len__":
            size = self.attribute("shape", Tensor.shape.__get__, args[0])[0]  # type: ignore[attr-defined]
            return size.settled() if is_traced(size) else int(size)
        if function is F.scaled_dot_product_attention and not kwargs.get("enable_gqa"):
            return self._attention(*args, **kwargs)
        return self._recorded(function, name, args, kwargs)

    def _attention(self, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """The weights and the product with the values apart: channels of either are the other's affair only so far."""
        weights = self._recorded(attention_weights, "attention_weights", (query, key, *args), kwargs)
        return self._recorded(torch.matmul, "matmul", (weights, value), {})

    def _recorded(self, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in _OPERATORS:
            function, swapped = _OPERATORS[name]
            args = args[::-1] if swapped else args
            node = self._create("call_function", function, args, kwargs)
        elif function in _METHODS:
            node = self._create("call_method", name, args, kwargs)
        else:
            node = self._create("call_function", function, args, kwargs)
        result = self._run_once(function, args, kwargs)
        if name in _PARTED:
            self.create_node("call_function", expect_parts, (node, len(result), place()), {})
        return self._noted(result, node, args, kwargs)

    def _noted(self, result: Any, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a node yields, with its shape and whose memory it shares on the node."""
        if isinstance(result, Tensor):
            node.meta["shape"] = tuple(result.shape)
        elif isinstance(result, tuple | list) and all(isinstance(item, Tensor) for item in result):
            node.meta["shapes"] = [tuple(item.shape) for item in result]
        mine = {x.untyped_storage()._cdata for x in _tensors(result)}
        given = [x for x in _tensors((*args, *kwargs.values())) if x.untyped_storage()._cdata in mine]
        node.meta["shares"] = [origin.node for x in given if (origin := self.origin(x)) is not None]
        return self.wrapped(result, Origin(lambda: node), self._device(args, kwargs))

    def _create(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        arguments, keywords = self.create_arg(args), self.create_arg(kwargs)
        named = None if isinstance(target, str) else self.graph._target_to_str(getattr(target, "__name__", "call"))
        node = self.create_node(kind, target, arguments, keywords, named)
        node.meta["place"] = place()
        return node

    def _run_once(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result; a tensor of its own where torch hands one of the arguments back as it was."""
        tensors = {id(x): x._version for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.is_meta}
        result = self._run(function, args, kwargs)
        if isinstance(result, Tensor) and tensors.get(id(result)) == result._version:
            return result.detach()
        return result

    def _run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return run_without_values(function, args, kwargs)

    def _device(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
        for value in (*kwargs.values(), *args):
            if isinstance(value, torch.device):
                return value
            if isinstance(value, Tensor) and "_branchfold" in value.__dict__:
                return value.__dict__["_branchfold"][1]
        return self.device

    def _value(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the forward makes of a tensor's values: allowed where they are the same whatever the input is."""

        def real(x: Any) -> Any:
            is_state = isinstance(x, Tensor) and (self.origin(x) is not None or id(x) in self.state)
            return constant_value(self.tensor(x), self.root, self.constants) if is_state else plain(x)

        return function(*map(real, args), **kwargs)

    def leaf(self, m: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]) -> Any:
        """Records the call of a layer as a whole."""
        path = self.path_of_module(m)
        if equivalence_of(m) is not None:  # which runs on tensors without values
            if path not in self._treated:
                with _pop_mode_temporarily():
                    self._treated[path] = torchs_layer(m, path)
            m = self._treated[path]
        with watched_hooks(m, lambda: self.hooked.add(path)):
            return self._whole("call_module", path, functools.partial(run, m), args, kwargs)

    def whole(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records the call of a function that is not followed."""
        return self._whole("call_function", function, function_of(function), args, kwargs)

    def _whole(self, kind: str, target: Any, run: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _pop_mode_temporarily() as listening:

            def forward(*args: Any, **kwargs: Any) -> Any:
                with listening:
                    return run(*args, **kwargs)

            node = self._create(kind, target, args, kwargs)
            self.inside += 1
            try:
                result = self._run_once(forward, args, kwargs)
            finally:
                self.inside -= 1
            return self._noted(result, node, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """What a rule speaks of by its type is kept whole; layers that the forward makes as it runs are followed."""
        if isinstance(m, CONTAINERS) or is_multihead(m):
            return False
        is_layer = (
            is_known_whole(m) or equivalence_of(m) is not None or super().is_leaf_module(m, module_qualified_name)
        )
        return is_layer and m in (self.submodule_paths or {})

    @contextmanager
    def entered(self, m: nn.Module) -> Iterator[None]:
        """While the forward of a module runs that is not a layer, it owns the nodes."""
        self.owners.append(self.submodule_paths.get(m, "") if self.submodule_paths else "")
        try:
            yield
        finally:
            self.owners.pop()


class Listening(TorchFunctionMode):
    """Hands every call of torch's functions to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return self.recorder.called(func, args, dict(kwargs or {}))


def _tensors(value: Any) -> list[Tensor]:
    values = value if isinstance(value, tuple | list) else [value]
    return [x for x in values if isinstance(x, Tensor) and x.layout is torch.strided]
