"""Which channel group owns which slice of a tensor's channel dimension."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import fx


@dataclass(eq=False)
class Channels:
    """A channel dimension that must keep one width wherever it flows: a set of a union-find forest.

    A set may be taken apart: all that hold it then hold its parts, each with a width of its own.

    Attributes:
        width: number of channels.
        reason: why the width is fixed; empty if it may be narrowed.
        writers: nodes that produce the channels, in forward order.
        readers: nodes that consume them, in forward order.
        derived: nodes that make a value of them that has no channels, in forward order.
        blocks: equal blocks of consecutive channels in which they lie, of which each keeps as many.
    """

    width: int
    reason: str = ""
    writers: list[fx.Node] = field(default_factory=list)
    readers: list[fx.Node] = field(default_factory=list)
    derived: list[fx.Node] = field(default_factory=list)
    blocks: int = 1
    _parent: "Channels | None" = None
    _parts: "tuple[Segment, ...]" = ()

    def root(self) -> "Channels":
        """The set's representative, the same object for all that were united."""
        top = self
        while top._parent is not None:
            top = top._parent
        while self is not top:
            assert self._parent is not None
            self._parent, self = top, self._parent
        return top

    def parts(self) -> "tuple[Segment, ...]":
        """The whole sets that this one consists of now: itself, or what it was taken apart into."""
        root = self.root()
        if not root._parts:
            return (Segment(root),)
        if not all(part.channels.is_whole() for part in root._parts):
            root._parts = resolved(root._parts)  # the next look at them is a short one
        return root._parts

    def is_whole(self) -> bool:
        """Whether the set was neither taken apart nor made part of another."""
        return self._parent is None and not self._parts

    def fix(self, reason: str) -> None:
        """Fixes the width; the first reason is the one that is told."""
        for part in self.parts():
            part.channels.reason = part.channels.reason or reason

    def unite(self, other: "Channels") -> None:
        """Makes two whole channel dimensions of one width one."""
        a, b = self.root(), other.root()
        if a is b:
            return
        reason = a.reason or b.reason
        if len(a.writers) < len(b.writers):  # the shorter lists move
            a, b = b, a
        b._parent = a
        a.reason = reason
        a.writers += b.writers
        a.readers += b.readers
        a.derived += b.derived

    def cut(self, at: int) -> None:
        """Takes a whole set apart into its first `at` channels and the others."""
        self._take_apart(Segment(self._like(at)), Segment(self._like(self.width - at)))

    def in_blocks(self, size: int) -> None:
        """Makes blocks of `size` consecutive channels the channels of a whole set: they stay or go together."""
        self._take_apart(Segment(self._like(self.width // size), size))

    def _like(self, width: int) -> "Channels":
        return Channels(width, self.reason, list(self.writers), list(self.readers), list(self.derived))

    def _take_apart(self, *parts: "Segment") -> None:
        assert self._parent is None
        assert not self._parts
        self._parts = parts


@dataclass(frozen=True)
class Segment:
    """Consecutive channels of one group; each channel takes `span` consecutive places (H·W after a flatten)."""

    channels: Channels
    span: int = 1

    @property
    def size(self) -> int:
        """Places in the dimension that the segment takes at full width."""
        return self.channels.width * self.span


def resolved(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The same places as segments of whole sets, after all that was taken apart and united."""
    found: list[Segment] = []
    for segment in segments:
        if segment.channels.is_whole():
            found.append(segment)
        elif segment.span == 1:
            found += segment.channels.parts()
        else:
            found += [Segment(part.channels, part.span * segment.span) for part in segment.channels.parts()]
    return tuple(found)


@dataclass(frozen=True)
class Layout:
    """The segments of a tensor's channel dimension `dim`, in order, as they were when it was made."""

    dim: int
    given: tuple[Segment, ...]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments as they are now."""
        return resolved(self.given)

    @property
    def size(self) -> int:
        """The dimension's size at full width."""
        return sum(segment.size for segment in self.given)

    def roots(self) -> tuple[Channels, ...]:
        """The channel sets of the segments, in order."""
        return tuple(segment.channels for segment in self.segments)

    def fix(self, reason: str) -> None:
        """Fixes the width of every segment."""
        for segment in self.given:
            segment.channels.fix(reason)

    def unite(self, other: "Layout") -> bool:
        """Makes two layouts of the same dimension one; False if their segments cannot be made to match."""
        return self.dim == other.dim and self.size == other.size and unite(self.given, other.given)

    def at(self, dim: int) -> "Layout":
        """The same segments along another dimension."""
        return Layout(dim, self.given)

    def spread(self, span: int) -> "Layout":
        """The same channels, each of which takes `span` times as many places."""
        return Layout(self.dim, tuple(Segment(segment.channels, segment.span * span) for segment in self.given))

    def sliced(self, start: int, stop: int) -> "Layout | None":
        """The places start … stop, whose segments become groups of their own; None where they are parts of channels."""
        for place in (start, stop):
            if not _cut(self.given, place):
                return None
        chosen, begin = [], 0
        for segment in self.segments:
            if start <= begin < stop:
                chosen.append(segment)
            begin += segment.size
        return Layout(self.dim, tuple(chosen))

    def in_blocks(self, size: int) -> "Layout | None":
        """One place for each block of `size` consecutive places, which stay or go together; None where none fit."""
        for segment in self.segments:
            ratio, rest = divmod(size, segment.span)
            if segment.span % size == 0:
                continue
            # What a change before it did to this set, too, is looked at again.
            for part in resolved((segment,)):
                if rest or part.channels.width % ratio:
                    return None
                if ratio > 1 and part.span == segment.span:
                    part.channels.in_blocks(ratio)
        if any(segment.span % size for segment in self.segments):
            return None
        return Layout(self.dim, tuple(Segment(part.channels, part.span // size) for part in self.segments))


def _cut(segments: Sequence[Segment], place: int) -> bool:
    """Takes the set apart that `place` lies in; False where it lies within a channel."""
    begin = 0
    for segment in resolved(segments):
        if begin < place < begin + segment.size:
            channels, rest = divmod(place - begin, segment.span)
            if rest:
                return False
            segment.channels.cut(channels)
            # The set may stand before this place, too: then other places have moved into view.
            return _cut(segments, place)
        begin += segment.size
    return True


def unite(mine: Sequence[Segment], theirs: Sequence[Segment]) -> bool:
    """Makes the channels at equal places one, taking sets apart where the others end; False where they cannot be."""
    while True:
        pairs = list(zip(resolved(mine), resolved(theirs), strict=False))
        first = next(((a, b) for a, b in pairs if a.channels is not b.channels or a.span != b.span), None)
        if first is None:
            return len(resolved(mine)) == len(resolved(theirs))
        if not _united(*first):
            return False


def _united(a: Segment, b: Segment) -> bool:
    """One step towards making the beginnings of two runs of segments one."""
    if a.span != b.span:
        a, b = (a, b) if a.span < b.span else (b, a)
        ratio, rest = divmod(b.span, a.span)
        if rest or a.channels is b.channels:
            return False
        if a.channels.width % ratio:
            if a.size < b.size or a.channels.width <= b.channels.width * ratio:
                return False
            a.channels.cut(b.channels.width * ratio)
        else:
            a.channels.in_blocks(ratio)
        return True
    if a.channels.width == b.channels.width:
        a.channels.unite(b.channels)
    else:
        longer, shorter = (a, b) if a.channels.width > b.channels.width else (b, a)
        longer.channels.cut(shorter.channels.width)
    return True
