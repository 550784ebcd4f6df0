"""Where the branches of a network are, in plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ..tracing.recording.attributes import Attribute


@dataclass(frozen=True)
class Part:
    """One segment of a tensor's channel dimension, in plain values.

    Attributes:
        group: name of its group, None if no layer writes it.
        width: channels at full width.
        kept: channels on the narrow side; `width` for a group without a branch.
        span: places that each channel takes.
        blocks: of the group, of which each keeps as many channels.
    """

    group: str | None
    width: int
    kept: int
    span: int
    blocks: int = 1

    @property
    def branched(self) -> bool:
        """Whether the group has a branch."""
        return self.kept < self.width


@dataclass(frozen=True)
class WidthForm:
    """A whole number that follows from widths: constant + Σ factor · width, by group."""

    constant: Fraction
    factors: dict[str, Fraction]

    def at(self, widths: Mapping[str, int]) -> int:
        """Its value where every group has the width given."""
        value = self.constant + sum(factor * widths[name] for name, factor in self.factors.items())
        assert value.denominator == 1
        return int(value)


@dataclass(frozen=True)
class Plan:
    """Where the branches are; everything is named by module path or by blend.

    Attributes:
        widths: group → channels kept, for the groups with a branch; the order is that of the vector α.
        writers: module path → parts of the channels that it writes, for writers with a compress.
        carriers: module path → parts of the channels that it treats, for channelwise layers with a narrow copy.
        values: path of a parameter or buffer → parts of the channels that it holds values for.
        value_dims: its path → dimension of the channels.
        readers: module path → name of the blend it reads.
        blends: name → parts of the tensor that is blended.
        attributes: numbers that modules of the network hold and that follow from widths → how.
        in_groups: paths of convolutions in groups that write channels.
    """

    widths: dict[str, int]
    writers: dict[str, tuple[Part, ...]]
    carriers: dict[str, tuple[Part, ...]]
    values: dict[str, tuple[Part, ...]]
    value_dims: dict[str, int]
    readers: dict[str, str]
    blends: dict[str, tuple[Part, ...]]
    attributes: dict[Attribute, WidthForm]
    in_groups: frozenset[str] = frozenset()


def kept_places(parts: tuple[Part, ...], chosen: Mapping[str, Tensor] | None = None) -> Tensor:
    """Places (n,) of a channel dimension that stay: of each block the first channels, or those `chosen` (k,)."""
    places, start = [], 0
    for part in parts:
        if chosen is not None and part.branched:
            channels = chosen[str(part.group)].cpu()
        else:
            channels = torch.arange(part.kept // part.blocks)
            if part.blocks > 1:
                channels = (torch.arange(part.blocks)[:, None] * (part.width // part.blocks) + channels).flatten()
        if part.span > 1:
            channels = (channels[:, None] * part.span + torch.arange(part.span)).flatten()
        places.append(channels + start if start else channels)
        start += part.width * part.span
    return places[0] if len(places) == 1 else torch.cat(places)
