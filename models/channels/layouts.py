"""Which channel group owns which slice of a tensor's channel dimension."""

from dataclasses import dataclass, field

from torch import fx


@dataclass(eq=False)
class Channels:
    """A channel dimension that must keep one width wherever it flows: a set of a union-find forest.

    Attributes:
        width: number of channels.
        reason: why the width is fixed; empty if it may be narrowed.
        writers: nodes that produce the channels, in forward order.
        readers: nodes that consume them, in forward order.
    """

    width: int
    reason: str = ""
    writers: list[fx.Node] = field(default_factory=list)
    readers: list[fx.Node] = field(default_factory=list)
    _parent: "Channels | None" = None

    def root(self) -> "Channels":
        """The set's representative, the same object for all that were united."""
        top = self
        while top._parent is not None:
            top = top._parent
        while self is not top:
            assert self._parent is not None
            self._parent, self = top, self._parent
        return top

    def fix(self, reason: str) -> None:
        """Fixes the width; the first reason is the one that is told."""
        root = self.root()
        root.reason = root.reason or reason

    def unite(self, other: "Channels") -> None:
        """Makes the two channel dimensions one."""
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


@dataclass(frozen=True)
class Segment:
    """Consecutive channels of one group; each channel takes `span` consecutive places (H·W after a flatten)."""

    channels: Channels
    span: int = 1

    @property
    def size(self) -> int:
        """Places in the dimension that the segment takes at full width."""
        return self.channels.width * self.span


@dataclass(frozen=True)
class Layout:
    """The segments of a tensor's channel dimension `dim`, in order."""

    dim: int
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """The dimension's size at full width."""
        return sum(segment.size for segment in self.segments)

    def roots(self) -> tuple[Channels, ...]:
        """The channel sets of the segments, in order."""
        return tuple(segment.channels.root() for segment in self.segments)

    def fix(self, reason: str) -> None:
        """Fixes the width of every segment."""
        for segment in self.segments:
            segment.channels.fix(reason)

    def unite(self, other: "Layout") -> bool:
        """Makes two layouts of the same dimension one; False if their segments do not match."""
        mine = [(segment.channels.width, segment.span) for segment in self.segments]
        theirs = [(segment.channels.width, segment.span) for segment in other.segments]
        if self.dim != other.dim or mine != theirs:
            return False
        for a, b in zip(self.segments, other.segments, strict=True):
            a.channels.unite(b.channels)
        return True
