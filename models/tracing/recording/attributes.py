"""Whole numbers that a network's modules hold as attributes, followed through the arithmetic of its forward."""

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Self

import torch
from torch import nn

HOLD_NUMBERS = (int, list, tuple)


@dataclass(frozen=True)
class Attribute:
    """A whole number that a module holds.

    Attributes:
        path: of the module.
        name: of the attribute.
        index: where it is a list or tuple, the place in it; else None.
        value: the number.
        of_layer: whether it says how large a layer or one of the module's tensors ("weight.shape") is, which narrowing
            rewrites anyway.
    """

    path: str
    name: str
    index: int | None
    value: int
    of_layer: bool = False

    def __str__(self) -> str:
        at = "" if self.index is None else f"[{self.index}]"
        return f"{self.path}.{self.name}{at}" if self.path else f"{self.name}{at}"


class AttributeNumber(int):
    """A number that knows of which attributes it is a linear form; other arithmetic gives plain numbers."""

    terms: Mapping[Attribute, Fraction]
    constant: Fraction

    @classmethod
    def of(cls, terms: Mapping[Attribute, Fraction], constant: Fraction) -> Self | int:
        """The number of a form; a plain one where nothing depends on attributes."""
        value = sum((factor * attribute.value for attribute, factor in terms.items()), constant)
        assert value.denominator == 1
        if not any(terms.values()):
            return int(value)
        number = cls(int(value))
        number.terms = {attribute: factor for attribute, factor in terms.items() if factor != 0}
        number.constant = constant
        return number

    def __deepcopy__(self, memo: dict[int, Any]) -> int:
        return int(self)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __neg__(self) -> Any:
        return self * -1

    def __add__(self, other: Any) -> Any:
        return _sum(self, other, 1)

    def __radd__(self, other: Any) -> Any:
        return _sum(self, other, 1)

    def __sub__(self, other: Any) -> Any:
        return _sum(self, other, -1)

    def __rsub__(self, other: Any) -> Any:
        return _sum(self * -1, other, 1)

    def __mul__(self, other: Any) -> Any:
        return _scaled(self, other, operator.mul)

    def __rmul__(self, other: Any) -> Any:
        return _scaled(self, other, operator.mul)

    def __floordiv__(self, other: Any) -> Any:
        return _scaled(self, other, operator.floordiv)

    __hash__ = int.__hash__


class Use(NamedTuple):
    """What the code made of such a number, and is not followed: it decided by it, or computed what is no linear form.

    Attributes:
        number: the number.
        other: what it was compared with, 0 where it was not.
        compares: how it was compared, "lt" for example; "" where something was computed.
        place: file and line of the user's code.
    """

    number: int
    other: int
    compares: str
    place: str


_UNFOLLOWED = ("truediv", "rtruediv", "pow", "rpow", "float")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
# Notes a use while a network is recorded: the operation, the number, what it is used with.
Noting = Callable[[str, "AttributeNumber", Any], None]
_listeners: list[Noting] = []


@contextmanager
def noted_uses(note: Noting) -> Iterator[None]:
    """Hears meanwhile of the uses of numbers that are not followed."""
    _listeners.append(note)
    try:
        yield
    finally:
        _listeners.remove(note)


def _noting(name: str) -> Callable[..., Any]:
    plain = getattr(int, f"__{name}__")

    def method(self: AttributeNumber, *others: Any) -> Any:
        for note in _listeners:
            note(name, self, others[0] if others else 0)
        return plain(self, *others)

    return method


for _name in (*_UNFOLLOWED, *_COMPARISONS):
    setattr(AttributeNumber, f"__{_name}__", _noting(_name))


# What a number is computed with; sizes that are traced look like integers, and compute with it themselves.
_PLAIN = (int, bool, AttributeNumber)


def _form(number: int) -> tuple[Mapping[Attribute, Fraction], Fraction]:
    return (number.terms, number.constant) if isinstance(number, AttributeNumber) else ({}, Fraction(number))


def _sum(number: AttributeNumber, other: Any, sign: int) -> Any:
    if type(other) not in _PLAIN:
        return NotImplemented
    terms, constant = _form(other)
    total = dict(number.terms)
    for attribute, factor in terms.items():
        total[attribute] = total.get(attribute, Fraction(0)) + sign * factor
    return AttributeNumber.of(total, number.constant + sign * constant)


def _scaled(number: AttributeNumber, other: Any, operation: Callable[[int, int], int]) -> Any:
    if type(other) not in _PLAIN:
        return NotImplemented
    plain = operation(int(number), int(other))
    if isinstance(other, AttributeNumber) or other == 0 or (operation is operator.floordiv and int(number) % other):
        return plain
    factor = Fraction(other) if operation is operator.mul else Fraction(1, int(other))
    return AttributeNumber.of({a: k * factor for a, k in number.terms.items()}, number.constant * factor)


def traced_value(path: str, name: str, value: Any, *, of_layer: bool = False) -> Any:
    """An attribute's value with numbers that know where they came from; other values as they are."""
    if type(value) is int:
        return _traced(Attribute(path, name, None, value, of_layer))
    if type(value) in (list, tuple, torch.Size) and value and all(type(item) is int for item in value):
        items = [_traced(Attribute(path, name, i, item, of_layer)) for i, item in enumerate(value)]
        return type(value)(items)
    return value


def _traced(attribute: Attribute) -> AttributeNumber:
    number = AttributeNumber(attribute.value)
    number.terms, number.constant = {attribute: Fraction(1)}, Fraction(0)
    return number


def write(attribute: Attribute, network: nn.Module, value: int) -> None:
    """Gives a network's attribute another value, in place; lists that it may share with others are copied."""
    module = network.get_submodule(attribute.path)
    if attribute.index is None:
        setattr(module, attribute.name, value)
    else:
        held = getattr(module, attribute.name)
        items = [value if i == attribute.index else item for i, item in enumerate(held)]
        setattr(module, attribute.name, type(held)(items))
