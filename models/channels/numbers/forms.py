"""Whole numbers in a network's code that follow from widths: linear forms of channel counts and of attributes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ...tracing.recording.attributes import Attribute, AttributeNumber
from ..layouts import Channels, Layout, Segment, resolved, unite

Atom = Channels | Attribute


@dataclass(frozen=True)
class Form:
    """Σ coefficient · atom + constant, where an atom is the width of a set of channels or an attribute's value."""

    terms: tuple[tuple[Atom, Fraction], ...] = ()
    constant: Fraction = Fraction(0)

    @staticmethod
    def of_layout(layout: Layout) -> "Form":
        """The size of a layout's dimension."""
        return Form(tuple((segment.channels, Fraction(segment.span)) for segment in layout.given))

    @staticmethod
    def of_number(number: int) -> "Form":
        """A number of the trace: what it says of attributes, or a constant."""
        if isinstance(number, AttributeNumber):
            return Form(tuple(number.terms.items()), number.constant)
        return Form(constant=Fraction(number))

    def __add__(self, other: "Form") -> "Form":
        return Form(self.terms + other.terms, self.constant + other.constant)

    def __mul__(self, factor: Fraction | int) -> "Form":
        return Form(tuple((atom, k * factor) for atom, k in self.terms), self.constant * factor)

    def __sub__(self, other: "Form") -> "Form":
        return self + other * -1

    def resolved(self, known: Mapping[Attribute, "Form"]) -> "Form":
        """The same number in whole sets of channels, and in attributes that are not `known`."""
        sums: dict[Atom, Fraction] = {}
        constant = self.constant
        for atom, factor in self.terms:
            if isinstance(atom, Attribute):
                if atom not in known:
                    sums[atom] = sums.get(atom, Fraction(0)) + factor
                    continue
                inner = known[atom].resolved(known)
                constant += inner.constant * factor
                parts = [(a, k * factor) for a, k in inner.terms]
            else:
                parts = [(part.channels, factor * part.span) for part in atom.parts()]
            for part, k in parts:
                sums[part] = sums.get(part, Fraction(0)) + k
        return Form(tuple((atom, k) for atom, k in sums.items() if k != 0), constant)

    def channels(self) -> Iterator[Channels]:
        """The sets of channels that it depends on."""
        for atom, _ in self.terms:
            if isinstance(atom, Channels):
                yield atom

    def attributes(self) -> list[Attribute]:
        """The attributes that it depends on."""
        return [atom for atom, _ in self.terms if isinstance(atom, Attribute)]

    def is_plain(self) -> bool:
        """Whether it is a number whatever the widths."""
        return not self.terms

    def value(self) -> int:
        """Its value in the original."""
        return int(self.at(full_value))

    def over(self, divisor: int) -> "Form":
        """Divided by a number that divides its value in the original."""
        return self * Fraction(1, divisor)

    def at(self, width: Callable[[Atom], int]) -> Fraction:
        """Its value where every atom has this one."""
        return sum((factor * width(atom) for atom, factor in self.terms), self.constant)


# Of the smallest and the largest value of a difference: whether it compares so with 0 in all its range.
_HOLD: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "eq": lambda low, high: low == 0 == high,
    "ne": lambda low, high: low > 0 or high < 0,
    "lt": lambda low, high: high < 0,
    "le": lambda low, high: high <= 0,
    "gt": lambda low, high: low > 0,
    "ge": lambda low, high: low >= 0,
}
_OPPOSITES = {"eq": "ne", "ne": "eq", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


def is_decided(comparison: str, difference: Form) -> bool:
    """Whether a difference compares with 0 ("lt") alike at all widths, each of which is at least 1.

    So `x.shape[1] != 0` is no question.
    """
    least: list[Fraction] = []
    most: list[Fraction] = []
    for atom, factor in difference.terms:
        full = factor * full_value(atom)
        ends = (full, factor if isinstance(atom, Channels) else full)
        least.append(min(ends))
        most.append(max(ends))
    low, high = sum(least, difference.constant), sum(most, difference.constant)
    return _HOLD[comparison](low, high) or _HOLD[_OPPOSITES[comparison]](low, high)


def full_value(atom: Atom) -> int:
    """What an atom is in the original."""
    return atom.value if isinstance(atom, Attribute) else atom.width


def make_equal(one: Form, other: Form, known: dict[Attribute, Form]) -> bool:
    """Makes two numbers equal at any width: by what an attribute must be, or by making equal widths one.

    `known` learns attributes. False where nothing makes them equal.
    """
    while True:
        rest = (one - other).resolved(known)
        if not rest.terms:
            return rest.constant == 0
        if rest.at(full_value) != 0:
            return False
        if attributes := rest.attributes():
            return len(attributes) == 1 and _learned(attributes[0], rest, known)
        if _laid_out_alike(one, other):
            return True
        if not _tied(rest) and not _divided(rest):
            return False


def _learned(attribute: Attribute, rest: Form, known: dict[Attribute, Form]) -> bool:
    factor = dict(rest.terms)[attribute]
    others = Form(tuple((atom, k) for atom, k in rest.terms if atom is not attribute), rest.constant)
    if not others.terms:
        return False
    known[attribute] = others * (-1 / factor)
    return True


def _tied(rest: Form) -> bool:
    """Unites two sets of one width that count with different signs; False where there are none."""
    more = [atom for atom, factor in rest.terms if factor > 0]
    less = [atom for atom, factor in rest.terms if factor < 0]
    for a in more:
        for b in less:
            if isinstance(a, Channels) and isinstance(b, Channels) and a.width == b.width:
                a.unite(b)
                return True
    return False


def _laid_out_alike(one: Form, other: Form) -> bool:
    """Makes the sizes of two dimensions equal, each of one set of channels, by making those at equal places one."""
    layouts = [_segments(form) for form in (one, other)]
    return all(len({segment.channels for segment in layout}) == 1 for layout in layouts) and unite(*layouts)


def _segments(form: Form) -> tuple[Segment, ...]:
    """The segments of the dimension whose size a number is; none where it is something else."""
    found = [Segment(atom, int(k)) for atom, k in form.terms if isinstance(atom, Channels) and k > 0 and k == int(k)]
    return resolved(found) if len(found) == len(form.terms) and form.constant == 0 else ()


def _divided(rest: Form) -> bool:
    """Takes a set apart that is as wide as another one several times, and makes its parts that one; False without such.

    So a stream of channels is as wide as all heads together whatever the width of a head is.
    """
    terms = [(atom, factor) for atom, factor in rest.terms if isinstance(atom, Channels)]
    for whole, f in terms:
        for part, g in terms:
            count = -g / f
            if count > 1 and count.denominator == 1 and whole.width == count * part.width:
                return unite((Segment(whole),), (Segment(part),) * int(count))
    return False


def layout_parts(layout: Layout, count: int) -> list[Layout] | None:
    """A layout in `count` equal parts, all of the same channels; None where it has none."""
    size, rest = divmod(layout.size, count)
    if rest:
        return None
    for i in range(1, count):
        first, other = layout.sliced(0, size), layout.sliced(i * size, (i + 1) * size)
        if first is None or other is None or not first.unite(other):
            return None
    parts = [layout.sliced(i * size, (i + 1) * size) for i in range(count)]
    return None if any(part is None for part in parts) else [part for part in parts if part is not None]


def repeated(layout: Layout, count: int) -> Layout:
    """The same channels over and over."""
    return Layout(layout.dim, layout.given * count)
