"""Numbers that know where they came from: sizes read while a network is traced, and what Python computes from them."""

import math
import operator
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import fx

from ....errors import NetworkError
from .attributes import AttributeNumber

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_UNARY: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "abs": operator.abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
}
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


class Origin:
    """The node that yields a value; made when it is first asked for, so that what nobody uses leaves no node."""

    def __init__(self, make: Callable[[], fx.Node]) -> None:
        self._make: Callable[[], fx.Node] | None = make
        self._node: fx.Node | None = None

    @property
    def node(self) -> fx.Node:
        """The node."""
        if self._node is None:
            assert self._make is not None
            self._node, self._make = self._make(), None
        return self._node


class NumberRecorder(Protocol):
    """What a number asks of the recorder of the graph that it belongs to."""

    def insist(self, node: fx.Node, value: Any) -> None:
        """Gives the graph a node that asserts what `node` yielded."""

    def computed(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The number that a function gives of numbers, with its origin."""

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        """A new node of the graph."""

    def create_arg(self, a: Any) -> Any:
        """Values as arguments of a node."""


class TracedNumber:
    """A number with its origin. It is torch's own kind of open number, so that torch's functions take it.

    Arithmetic gives such numbers again. Where Python decides by one, or takes its value for good, the graph gets a node
    that asserts what was found: what follows in the graph holds for that value alone.
    """

    kind: type

    def __init__(self, value: Any, recorder: NumberRecorder, origin: Origin) -> None:
        self.value, self.recorder, self.origin = value, recorder, origin

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """`isinstance(n, int)` holds, as for the number that it stands for."""
        return self.kind

    def settled(self) -> Any:
        """The plain number, which the graph from now on insists on."""
        self.recorder.insist(self.origin.node, self.value)
        return self.value

    def __index__(self) -> int:
        return operator.index(self.settled())

    def __int__(self) -> int:
        return int(self.settled())

    def __float__(self) -> float:
        return float(self.settled())

    def __bool__(self) -> bool:
        return bool(self.__ne__(0))

    def __hash__(self) -> int:
        return hash(self.settled())

    def _rounded(self, *ndigits: int) -> Any:
        return self.recorder.computed(round, (self, *ndigits))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __repr__(self) -> str:
        return repr(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.settled()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.kind, (self.settled(),)

    def is_integer(self) -> bool:
        """Whether it is a whole number."""
        return float(self.settled()).is_integer()


class TracedInt(TracedNumber, torch.SymInt):
    """An integer with its origin, such as a size."""

    kind = int


class TracedFloat(TracedNumber, torch.SymFloat):
    """What is computed with a division."""

    kind = float


def is_traced(value: object) -> bool:
    """Whether a value is a number with an origin."""
    return type(value) in (TracedInt, TracedFloat)


def plain(value: Any) -> Any:
    """The number that a traced number stands for; anything else as it is."""
    return value.value if is_traced(value) else value


def insisted(value: Any, found: Any, place: str) -> None:
    """What a graph calls where the code that was traced decided by a size.

    Raises:
        NetworkError: if the size is another now.
    """
    if value != found:
        raise NetworkError(
            f"the network was traced with inputs of another size: {place} decides by one that was {found!r} then and "
            f"is {value!r} now; trace it with inputs of this size"
        )


def _takes(other: object) -> bool:
    return is_traced(other) or type(other) in (int, float, bool) or hasattr(other, "__index__")


def _binary(function: Callable[..., Any], *, swapped: bool) -> Callable[..., Any]:
    def method(self: TracedNumber, other: Any) -> Any:
        if not _takes(other) or isinstance(other, torch.Tensor):
            return NotImplemented
        known = is_traced(other) or type(other) in (int, float, bool, AttributeNumber)
        other = other if known else operator.index(other)
        return self.recorder.computed(function, (other, self) if swapped else (self, other))

    return method


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedNumber) -> Any:
        return self.recorder.computed(function, (self,))

    return method


def _comparison(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: TracedNumber, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        found = function(self.value, plain(other))
        node = self.recorder.create_node("call_function", function, self.recorder.create_arg((self, other)), {})
        self.recorder.insist(node, found)
        return found

    return method


for _name in _BINARY:
    setattr(TracedNumber, f"__{_name}__", _binary(getattr(operator, _name), swapped=False))
    setattr(TracedNumber, f"__r{_name}__", _binary(getattr(operator, _name), swapped=True))
for _name, _function in _UNARY.items():
    setattr(TracedNumber, f"__{_name}__", _unary(_function))
setattr(TracedNumber, "__round__", TracedNumber._rounded)  # noqa: B010  torch declares it for one kind otherwise
for _name in _COMPARISONS:
    setattr(TracedNumber, f"__{_name}__", _comparison(getattr(operator, _name)))
