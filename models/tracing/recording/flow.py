"""What flows through a recording: values that know where they came from, and values as arguments of nodes."""

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from .attributes import AttributeNumber, traced_value
from .numbers import Origin, TracedFloat, TracedInt, insisted, is_traced, plain
from .places import place, user_frame
from .valueless import without_values
from .values import UntraceableError

# By far the most of what modules hold.
_UNHELD = frozenset((int, float, str, bool, type(None), tuple, list, dict, set, OrderedDict))
# What a node's argument is as it stands, by far the most of them.
_CONSTANT = (int, float, str, bool, type(None))


class Flow(fx.Tracer):
    """A graph and the values that nodes of it yield, as the user's code has them.

    Attributes:
        graph: the graph so far.
        state: tensors that the network holds, by id → their paths.
        constants: name of an attribute that the graph reads → tensor that is no attribute of the network.
        sized: paths of layers of torch's and of other modules whose tensors' size the forward asked for.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.root = network
        self.graph = fx.Graph()
        self.thread = threading.get_ident()
        self.inside = 0
        self.submodule_paths = {module: path for path, module in network.named_modules()}
        held = held_tensors(network, self.submodule_paths)
        self.state = {id(tensor): path for tensor, path in held.items()}
        self.owners: list[str] = []
        self.constants: dict[str, Tensor] = {}
        self.sized: set[str] = set()
        self.device = _device(self.submodule_paths)
        self._reads: dict[str, fx.Node] = {}
        self._devices: dict[int, tuple[torch.device, fx.Node]] = {}
        self._dtypes: dict[int, tuple[Any, torch.dtype, fx.Node]] = {}
        self._insisted: set[tuple[fx.Node, Any]] = set()

    def is_listening(self) -> bool:
        """Whether the user's code runs now, in this thread, and not a layer's."""
        return not self.inside and self.thread == threading.get_ident()

    def given(self, value: Any, origin: Origin) -> Any:
        """An argument as it flows here: tensors without values, numbers with their origin."""
        device = value.device if isinstance(value, Tensor) else self.device
        return self.wrapped(without_values(value), origin, device)

    def _yielded(self, tensor: Tensor, origin: Origin, device: torch.device) -> Tensor:
        tensor._branchfold = (origin, device)  # type: ignore[attr-defined]
        return tensor

    def wrapped(self, value: Any, origin: Origin, device: torch.device) -> Any:
        """A value that knows where it came from, and the device that it would be on."""
        if isinstance(value, Tensor):
            return self._yielded(value, origin, device)
        if type(value) is int:
            return TracedInt(value, self, origin)
        if type(value) is float:
            return TracedFloat(value, self, origin)
        if isinstance(value, torch.Size):
            return torch.Size(
                [self.wrapped(int(v), self._item(origin, i, int(v)), device) for i, v in enumerate(value)]
            )
        if isinstance(value, dict):
            return type(value)((k, self.wrapped(v, self._item(origin, k), device)) for k, v in value.items())
        if isinstance(value, tuple | list):
            items = [self.wrapped(v, self._item(origin, i, v), device) for i, v in enumerate(value)]
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
        at = place()
        made = Origin(lambda: _numbered(self._placed(function, arguments, at), value))
        return self.wrapped(value, made, self.device)

    def _placed(self, function: Callable[..., Any], arguments: tuple[Any, ...], at: str) -> fx.Node:
        node = self.create_node("call_function", function, self.create_arg(arguments), {})
        node.meta["place"] = at
        return node

    def insist(self, node: fx.Node, found: Any) -> None:
        """Records that what follows holds for one value of a size or of a comparison."""
        if (node, found) not in self._insisted:
            self._insisted.add((node, found))
            self.create_node("call_function", insisted, (node, found, place()), {})

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where a tensor came from, None for one that tracing does not know."""
        known = tensor.__dict__.get("_branchfold")
        return None if known is None else known[0]

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *told: Any, **named: Any) -> fx.Node:
        """A new node of the graph."""
        # Given at once, torch searches all arguments for what it would warn of; its tracer copies a stack each time.
        node = self.graph.create_node(kind, target, (), {}, *told, **named)
        if args:
            node.args = args
        if kwargs:
            node.kwargs = kwargs
        if self.owners:
            node.meta["owner"] = self.owners[-1]
        return node

    def create_arg(self, a: Any) -> Any:
        """What a node's argument is recorded as."""
        if type(a) in _CONSTANT:
            return a
        if type(a) in (tuple, list):
            return type(a)([self.create_arg(item) for item in a])
        if type(a) is dict and all(type(key) is str for key in a):
            return {key: self.create_arg(item) for key, item in a.items()}
        if isinstance(a, Tensor):
            return self.tensor(a)
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

    def tensor(self, tensor: Tensor) -> fx.Node:
        """The node that yields a tensor."""
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
        frame, reading = user_frame(), self._dtypes
        known = reading.get(id(frame)) if frame is not None else None
        return known[2] if known is not None and known[0] is frame and known[1] is dtype else dtype

    def attribute(self, name: str, getter: Any, tensor: Tensor) -> Any:
        """What the user's code reads of a tensor."""
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
        if name == "dtype" and known is not None and (frame := user_frame()) is not None:
            self._dtypes[id(frame)] = frame, value, self._read(tensor, name)
        if isinstance(value, torch.Size | Tensor) and (known is not None or id(tensor) in self.state):
            node = self._read(tensor, name)
            return self.wrapped(value, Origin(lambda: node), known[1] if known else tensor.device)
        return value

    def _read(self, tensor: Tensor, name: str) -> fx.Node:
        node = self.create_node("call_function", getattr, (self.tensor(tensor), name), {})
        node.meta["place"] = place()
        return _numbered(node, tuple(map(int, tensor.shape)) if name == "shape" else None)


def _numbered(node: fx.Node, value: Any) -> fx.Node:
    """The node, with the whole number or the sizes that it yields."""
    if isinstance(value, int | tuple):
        node.meta["value"] = value
    return node


def _device(modules: Iterable[nn.Module]) -> torch.device:
    """That of the first parameter, or buffer where there is none."""
    for kind in ("_parameters", "_buffers"):
        for module in modules:
            for tensor in module.__dict__[kind].values():
                if tensor is not None:
                    return torch.device(tensor.device)
    return torch.device("cpu")


def held_tensors(network: nn.Module, modules: Mapping[nn.Module, str] | None = None) -> dict[Tensor, str]:
    """Every tensor that a network holds, and its path.

    Args:
        network: any module.
        modules: its modules → their paths, where they are known.
    """
    paths: dict[Tensor, str] = {}
    known = {module: path for path, module in network.named_modules()} if modules is None else modules
    for module, path in known.items():
        held = {**module.__dict__, **module._parameters, **module._buffers}
        for name, value in held.items():
            if type(value) not in _UNHELD and isinstance(value, Tensor):
                paths.setdefault(value, f"{path}.{name}" if path else name)
    return paths
