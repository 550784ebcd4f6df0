"""Dimensions of a search space: a TOML value that is fixed, a list of choices, or a range."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from pydantic import PlainSerializer, PlainValidator

Number: TypeAlias = int | float
Scalar: TypeAlias = bool | int | float | str
# What stands for a value that a rule decides.
AUTO = "auto"


class UnknownKeyError(ValueError):
    """A key inside a value's table that does not belong there.

    Args:
        key: The key as written.
        known: The keys that are allowed in its place.
    """

    def __init__(self, key: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown key {key!r}")
        self.key = key
        self.known = tuple(known)


class UnknownNameError(ValueError):
    """A value that is none of those allowed.

    Args:
        text: What is allowed.
        value: What stands there instead.
        known: The names that are allowed.
    """

    def __init__(self, text: str, value: str, known: Collection[str]) -> None:
        super().__init__(text)
        self.value = value
        self.known = tuple(known)


@dataclass(frozen=True)
class Fixed:
    """A value that is not searched."""

    value: Scalar


@dataclass(frozen=True)
class Choices:
    """A categorical dimension: one of several values, in the order given."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """A numeric dimension, both ends included; `low == high` is allowed.

    It is a range of integers if both ends (and the step, if there is one) are integers.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @property
    def is_integer(self) -> bool:
        """Whether only integers are proposed."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, int | None)


Dimension: TypeAlias = Fixed | Choices | Range


def parse_dimension(value: Any) -> Dimension:
    """The dimension that a TOML value describes.

    Args:
        value: A plain value, a list of plain values, a table `{low, high, log, step}`, or a dimension already made.

    Raises:
        UnknownKeyError: If a range's table has a key that is not one of its four.
        ValueError: If the value is none of these, or its bounds contradict each other.
    """
    if isinstance(value, Fixed | Choices | Range):
        return value
    if isinstance(value, dict):
        return _parse_range(value)
    if isinstance(value, list | tuple):
        return _parse_choices(value)
    if not _is_scalar(value):
        raise ValueError("must be a plain value, a list of choices or a range {low, high}")
    return Fixed(value)


def plain(dimension: Dimension) -> Any:
    """The dimension as it would stand in a TOML file; `parse_dimension` reads it back."""
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choices):
        return list(dimension.values)
    table: dict[str, Any] = {"low": dimension.low, "high": dimension.high}
    if dimension.log:
        table["log"] = True
    if dimension.step is not None:
        table["step"] = dimension.step
    return table


def within(
    *, minimum: Number = -math.inf, above: Number = -math.inf, maximum: Number = math.inf
) -> Callable[[Dimension], Dimension]:
    """A check that every value of a dimension is a number within the bounds.

    Args:
        minimum: The smallest value allowed.
        above: Every value must be greater than this one.
        maximum: The largest value allowed.
    """
    lower = f"> {above}" if above > -math.inf else f">= {minimum}" if minimum > -math.inf else "a number"
    allowed = lower if maximum == math.inf else f"{lower} and <= {maximum}"

    def check(dimension: Dimension) -> Dimension:
        for value in extremes(dimension):
            if not (_is_number(value) and minimum <= value <= maximum and value > above):
                raise ValueError(f"must be {allowed}")
        return dimension

    return check


def or_auto(check: Callable[[Dimension], Dimension]) -> Callable[[Dimension], Dimension]:
    """A check that passes "auto" alone, and anything else that another check does."""

    def checked(dimension: Dimension) -> Dimension:
        if dimension == Fixed(AUTO):
            return dimension
        try:
            return check(dimension)
        except ValueError as error:
            allowed = str(error).removeprefix("must be ")
            if isinstance(error, UnknownNameError):
                raise UnknownNameError(f'must be "auto" or {allowed}', error.value, [AUTO, *error.known]) from None
            raise ValueError(f'must be "auto" or {allowed}') from None

    return checked


def one_of(allowed: Collection[Scalar]) -> Callable[[Dimension], Dimension]:
    """A check that a dimension is fixed to, or chooses among, the values that are allowed when it is made."""

    def check(dimension: Dimension) -> Dimension:
        identities = {(type(value), value) for value in allowed}
        wrong = [value for value in extremes(dimension) if (type(value), value) not in identities]
        if isinstance(dimension, Range) or wrong:
            text = f"must be one or a list of {_listed(allowed)}"
            raise UnknownNameError(text, str(wrong[0] if wrong else ""), [v for v in allowed if isinstance(v, str)])
        return dimension

    return check


def named(allowed: Collection[str]) -> Callable[[str], str]:
    """A check that a name is one of those that are allowed when it is made."""

    def check(name: str) -> str:
        if name not in allowed:
            raise UnknownNameError(f"must be one of {_listed(allowed)}", name, allowed)
        return name

    return check


def not_listed(dimension: Dimension) -> Dimension:
    """The dimension if it is a number or a range of numbers, as a width's share must be."""
    if isinstance(dimension, Choices):
        raise ValueError("must be a number or a range {low, high}")
    return dimension


def whole(dimension: Dimension) -> Dimension:
    """The dimension if all its values are whole numbers."""
    integers = dimension.is_integer if isinstance(dimension, Range) else True
    if not integers or not all(isinstance(x, int) and not isinstance(x, bool) for x in extremes(dimension)):
        raise ValueError("must be a whole number, a list or a range of them")
    return dimension


# The type of a field that holds a dimension; checks follow as `AfterValidator(within(...))`.
DimensionField = Annotated[Dimension, PlainValidator(parse_dimension), PlainSerializer(plain)]


def _parse_range(table: dict[str, Any]) -> Range:
    known = [field.name for field in fields(Range)]
    for key in table:
        if key not in known:
            raise UnknownKeyError(key, known)
    if "low" not in table or "high" not in table:
        raise ValueError("must have both low and high")
    low, high, log, step = table["low"], table["high"], table.get("log", False), table.get("step")
    if not (_is_number(low) and _is_number(high)):
        raise ValueError("must have finite numbers as low and high")
    if not isinstance(log, bool):
        raise ValueError("must have log = true or false")
    if low > high:
        raise ValueError("must have low <= high")
    if log and low <= 0:
        raise ValueError("must have low > 0 where log = true")
    if step is not None:
        _check_step(low, high, log, step)
    return Range(low, high, log, step)


def _check_step(low: Number, high: Number, log: bool, step: Any) -> None:
    if log:
        raise ValueError("must have log = true or a step, not both")
    if not _is_number(step) or step <= 0:
        raise ValueError("must have a step > 0")
    # Optuna would lower `high` with a warning in every trial; decimals, because 0.7 / 0.1 is not 7 in binary.
    if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ValueError("must have a step that divides high - low")


def _parse_choices(values: Sequence[Any]) -> Choices:
    if not values:
        raise ValueError("must list at least one choice")
    if not all(_is_scalar(value) for value in values):
        raise ValueError("must list plain values only")
    if len({(type(value), value) for value in values}) < len(values):
        raise ValueError("must list each choice once")
    return Choices(tuple(values))


def extremes(dimension: Dimension) -> tuple[Any, ...]:
    """A range's two ends, or all values of another dimension."""
    if isinstance(dimension, Range):
        return dimension.low, dimension.high
    return (dimension.value,) if isinstance(dimension, Fixed) else dimension.values


def _listed(allowed: Collection[Scalar]) -> str:
    return ", ".join(json.dumps(value) for value in allowed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | str) or _is_number(value)
