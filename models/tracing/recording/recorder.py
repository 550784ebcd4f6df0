"""Records what a network's forward does while it runs on tensors without values: shapes are known, values are not."""

import functools
import operator
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode, _pop_mode_temporarily, is_tensor_method_or_property

from ...layers.kinds import is_known_whole
from .attention import attention_weights
from .attributes import AttributeNumber, Use, traced_value
from .multihead import CONTAINERS, is_multihead
from .numbers import Origin, TracedFloat, TracedInt, insisted, is_traced, plain
from .valueless import run_without_values, without_values
from .values import CONSTANT_READS, VALUE_READS, UntraceableError, constant_value

LIBRARIES = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parent}{os.sep}")

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
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_PARTED = ("unbind", "split", "chunk", "tensor_split", "split_with_sizes")


def expect_parts(parts: Any, found: int, place: str) -> None:
    """What a graph calls where a tensor was taken apart: Python has seen how many parts there are.

    Raises:
        NetworkError: if there are as many no longer.
    """
    insisted(len(parts), found, place)


class Recorder(fx.Tracer):
    """Makes a graph of one call of a network.

    The forward runs as Python does, on tensors of torch's "meta" device that carry the node they came from: shapes,
    dtypes and devices are what they are, and nothing is computed. What comes of the parameters' and buffers' values is
    recorded as well, so that neither is read nor written. Layers of torch's are recorded whole.

    Attributes:
        graph: the graph so far.
        modes_read: modules whose mode the forward asked for.
        uses: of numbers that modules hold, which are not followed.
        sized: paths of layers of torch's and of other modules whose tensors' size the forward asked for.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.root = network
        self.graph = fx.Graph()
        self.thread = threading.get_ident()
        self.inside = 0
        self.modes_read: set[nn.Module] = set()
        self.submodule_paths = {module: path for path, module in network.named_modules()}
        self.state = {id(tensor): path for tensor, path in held_tensors(network).items()}
        self.constants: dict[str, Tensor] = {}
        self.device = next((t.device for t in (*network.parameters(), *network.buffers())), torch.device("cpu"))
        self._reads: dict[str, fx.Node] = {}
        self._devices: dict[int, tuple[torch.device, fx.Node]] = {}
        self._dtypes: dict[int, tuple[Any, torch.dtype, fx.Node]] = {}
        self._insisted: set[tuple[fx.Node, Any]] = set()
        self.uses: list[Use] = []
        self.sized: set[str] = set()
        self._spans: list[tuple[str, Origin, Origin]] = []

    def is_listening(self) -> bool:
        """Whether the user's code runs now, in this thread, and not a layer's."""
        return not self.inside and self.thread == threading.get_ident()

    def given(self, value: Any, origin: Origin) -> Any:
        """An argument as it flows here: tensors without values, numbers with their origin."""
        device = value.device if isinstance(value, Tensor) else self.device
        return self._wrapped(without_values(value), origin, device)

    def _yielded(self, tensor: Tensor, origin: Origin, device: torch.device) -> Tensor:
        tensor._branchfold = (origin, device)  # type: ignore[attr-defined]
        return tensor

    def _wrapped(self, value: Any, origin: Origin, device: torch.device) -> Any:
        if isinstance(value, Tensor):
            return self._yielded(value, origin, device)
        if type(value) is int:
            return TracedInt(value, self, origin)
        if type(value) is float:
            return TracedFloat(value, self, origin)
        if isinstance(value, torch.Size):
            return torch.Size(
                [self._wrapped(int(v), self._item(origin, i, int(v)), device) for i, v in enumerate(value)]
            )
        if isinstance(value, dict):
            return type(value)((k, self._wrapped(v, self._item(origin, k), device)) for k, v in value.items())
        if isinstance(value, tuple | list):
            items = [self._wrapped(v, self._item(origin, i, v), device) for i, v in enumerate(value)]
            if type(value) in (tuple, list):
                return type(value)(items)
            return value if all(isinstance(v, Tensor) for v in value) else type(value)(*items)
        return value

    def _item(self, origin: Origin, index: Any, item: Any = None) -> Origin:
        def make() -> fx.Node:
            node = self.create_node("call_function", operator.getitem, (origin.node, index), {})
            if isinstance(item, Tensor):
                node.meta.update(shape=tuple(item.shape), shares=[origin.node])
            return _numbered(node, item)

        return Origin(make)

    def computed(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """A number that Python computes from others."""
        # Of an attribute the value: its own arithmetic would take the result's origin away, a batch size's for example.
        value = function(*(int(a) if isinstance(a, AttributeNumber) else plain(a) for a in arguments))

        def make() -> fx.Node:
            return _numbered(self.create_node("call_function", function, self.create_arg(arguments), {}), value)

        return self._wrapped(value, Origin(make), self.device)

    def insist(self, node: fx.Node, found: Any) -> None:
        """Records that what follows holds for one value of a size or of a comparison."""
        if (node, found) not in self._insisted:
            self._insisted.add((node, found))
            self.create_node("call_function", insisted, (node, found, _place()), {})

    def note_use(self, operation: str, number: AttributeNumber, other: Any) -> None:
        """Notes what the user's code decides by a number that a module holds, or computes with it."""
        decides = operation in _COMPARISONS
        if decides and type(other) not in (int, bool, AttributeNumber):
            return
        if self.is_listening() and _is_users(sys._getframe(2)):
            self.uses.append(Use(number, other if decides else 0, operation if decides else "", _place()))

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

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where a tensor came from, None for one that tracing does not know."""
        known = tensor.__dict__.get("_branchfold")
        return None if known is None else known[0]

    def create_arg(self, a: Any) -> Any:
        """What a node's argument is recorded as."""
        if isinstance(a, Tensor):
            return self._tensor(a)
        if is_traced(a):
            return a.origin.node
        if isinstance(a, torch.device) and id(a) in self._devices:
            return self._devices[id(a)][1]
        if isinstance(a, torch.dtype):
            return self._dtype(a)
        if isinstance(a, torch.Size):
            return tuple(self.create_arg(item) for item in a)
        if type(a) is OrderedDict:  # torch's own tracer makes it a plain dict
            items = [(key, self.create_arg(value)) for key, value in a.items()]
            return self.create_node("call_function", OrderedDict, (items,), {})
        return super().create_arg(a)

    def _tensor(self, tensor: Tensor) -> fx.Node:
        if (known := self.origin(tensor)) is not None:
            return known.node
        path = self.state.get(id(tensor))
        if path is None and isinstance(tensor, nn.Parameter):
            raise UntraceableError("uses a parameter that is none of the network's")
        if path is None and tensor.is_meta:
            raise UntraceableError(
                "uses a tensor that was computed where tracing cannot see, outside of torch's functions"
            )
        if path is None:
            path = next(
                (f"_tensor_constant{i}" for i in range(10**6) if not self._is_taken(f"_tensor_constant{i}")), ""
            )
            self.state[id(tensor)], self.constants[path] = path, tensor
        if path not in self._reads:
            self._reads[path] = self.create_node("get_attr", path, (), {})
            self._reads[path].meta["shape"] = tuple(tensor.shape)
        return self._reads[path]

    def _is_taken(self, name: str) -> bool:
        return name in self.constants or hasattr(self.root, name)

    def _dtype(self, dtype: torch.dtype) -> Any:
        """The dtype itself, or that of the tensor from which the same function has read it."""
        frame, reading = _user_frame(), self._dtypes
        known = reading.get(id(frame)) if frame is not None else None
        return known[2] if known is not None and known[0] is frame and known[1] is dtype else dtype

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records one call of a function of torch's, and what it would yield."""
        if self.inside:
            return self._run(function, args, kwargs)
        name = getattr(function, "__name__", "")
        if name == "__get__":
            return self._attribute(function.__self__.__name__, function, args[0])
        if name == "__set__" and not args[0].is_meta:
            raise UntraceableError(f"assigns a parameter's {function.__self__.__name__}")
        if name in VALUE_READS:
            return self._value(function, args, kwargs)
        if name in CONSTANT_READS:
            return self._run(function, args, kwargs)
        if name == "size":
            sizes = self._attribute("shape", Tensor.shape.__get__, args[0])  # type: ignore[attr-defined]
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return sizes if dim is None else sizes[dim]
        if name == "__len__":
            size = self._attribute("shape", Tensor.shape.__get__, args[0])[0]  # type: ignore[attr-defined]
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
        elif is_tensor_method_or_property(function):
            node = self._create("call_method", name, args, kwargs)
        else:
            node = self._create("call_function", function, args, kwargs)
        result = self._run_once(function, args, kwargs)
        if name in _PARTED:
            self.create_node("call_function", expect_parts, (node, len(result), _place()), {})
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
        return self._wrapped(result, Origin(lambda: node), self._device(args, kwargs))

    def _create(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        arguments, keywords = self.create_arg(args), self.create_arg(kwargs)
        named = None if isinstance(target, str) else self.graph._target_to_str(getattr(target, "__name__", "call"))
        node = self.create_node(kind, target, arguments, keywords, named)
        node.meta["place"] = _place()
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

    def _attribute(self, name: str, getter: Any, tensor: Tensor) -> Any:
        known = tensor.__dict__.get("_branchfold")
        if name == "device":
            device = torch.device(str(known[1] if known is not None else tensor.device))
            if known is not None:
                self._devices[id(device)] = device, self._read(tensor, name)
            return device
        if name == "is_cuda":
            return (known[1] if known is not None else tensor.device).type == "cuda"
        if name == "is_meta":
            return False
        value = getter(tensor)
        if name == "shape" and known is None and (path := self.state.get(id(tensor))) is not None:
            owner, _, own = path.rpartition(".")
            self.sized.add(owner)
            return traced_value(owner, f"{own}.shape", value, of_layer=True)
        if name == "dtype" and known is not None and (frame := _user_frame()) is not None:
            self._dtypes[id(frame)] = frame, value, self._read(tensor, name)
        if isinstance(value, torch.Size | Tensor) and (known is not None or id(tensor) in self.state):
            node = self._read(tensor, name)
            return self._wrapped(value, Origin(lambda: node), known[1] if known else tensor.device)
        return value

    def _read(self, tensor: Tensor, name: str) -> fx.Node:
        node = self.create_node("call_function", getattr, (self._tensor(tensor), name), {})
        return _numbered(node, tuple(map(int, tensor.shape)) if name == "shape" else None)

    def _value(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the forward makes of a tensor's values: allowed where they are the same whatever the input is."""

        def real(x: Any) -> Any:
            is_state = isinstance(x, Tensor) and (self.origin(x) is not None or id(x) in self.state)
            return constant_value(self._tensor(x), self.root, self.constants) if is_state else plain(x)

        return function(*map(real, args), **kwargs)

    def leaf(self, m: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]) -> Any:
        """Records the call of a layer as a whole."""
        return self._whole("call_module", self.path_of_module(m), functools.partial(run, m), args, kwargs)

    def whole(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records the call of a function that is not followed."""
        return self._whole("call_function", function, function, args, kwargs)

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
        is_layer = is_known_whole(m) or super().is_leaf_module(m, module_qualified_name)
        if isinstance(m, CONTAINERS) or is_multihead(m):
            return False
        return is_layer and m in (self.submodule_paths or {})

    @contextmanager
    def entered(self, m: nn.Module) -> Iterator[None]:
        """While the forward of a module runs that is not a layer, its name is on the stack."""
        path = self.submodule_paths.get(m, "") if self.submodule_paths else ""
        key = f"{path}@{self.num_calls.get(path, 0)}"
        self.num_calls[path] = self.num_calls.get(path, 0) + 1
        self.module_stack[key] = path, type(m)
        try:
            yield
        finally:
            self.module_stack.pop(key, None)


class Listening(TorchFunctionMode):
    """Hands every call of torch's functions to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return self.recorder.called(func, args, dict(kwargs or {}))


def _numbered(node: fx.Node, value: Any) -> fx.Node:
    """The node, with the whole number or the sizes that it yields."""
    if isinstance(value, int | tuple):
        node.meta["value"] = value
    return node


def _tensors(value: Any) -> list[Tensor]:
    values = value if isinstance(value, tuple | list) else [value]
    return [x for x in values if isinstance(x, Tensor) and x.layout is torch.strided]


def held_tensors(network: nn.Module) -> dict[Tensor, str]:
    """Every tensor that a network holds, and its path."""
    paths: dict[Tensor, str] = {}
    for path, module in network.named_modules():
        held = {**module.__dict__, **module._parameters, **module._buffers}
        for name, value in held.items():
            if isinstance(value, Tensor):
                paths.setdefault(value, f"{path}.{name}" if path else name)
    return paths


def _user_frame() -> Any:
    frame: Any = sys._getframe(1)
    while frame is not None and not _is_users(frame):
        frame = frame.f_back
    return frame


def _is_users(frame: Any) -> bool:
    return not frame.f_code.co_filename.startswith(LIBRARIES)


def _place() -> str:
    """File and line of the user's code that runs now."""
    frame = _user_frame()
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
