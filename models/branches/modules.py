"""Branches: the narrow twin beside a group's layers, heard in proportion 1 − α by the group's readers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import dense, inputs, outputs

_POINTWISE = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


class Compress(nn.Module):
    """P: z = P y + p, a 1×1 convolution from C channels to k.

    Attributes:
        weight: (k, C), or (G, k / G, C / G) behind a layer in G groups, each of which it leaves to itself.
        bias: (k · span,), only where the writer has a bias, so that folding adds no parameter.
        span: places that each channel takes; P treats each of a channel's places alike.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dim: int, span: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.dim, self.span = dim, span

    def forward(self, y: Tensor) -> Tensor:
        """Z (N, …, k at `dim`, …) of y (N, …, C at `dim`, …)."""
        if self.span == 1:
            return mix_channels(y, self.weight, self.bias, self.dim)
        z = mix_spans(y, self.weight, self.span, self.dim)
        return z if self.bias is None else z + self.bias.view(-1, *(1,) * (z.dim() - 1 - self.dim))

    def extra_repr(self) -> str:
        return f"{inputs(self.weight)} -> {outputs(self.weight)}, bias={self.bias is not None}"


class CompressParts(nn.Module):
    """A P for each part of a writer's channels whose group has a branch; the other parts pass as they are.

    Attributes:
        parts: number of the part → its P.
        sizes: places of each part.
    """

    def __init__(self, parts: Mapping[int, Compress], sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({str(i): part for i, part in parts.items()})
        self.sizes, self.dim = list(sizes), dim

    def forward(self, y: Tensor) -> Tensor:
        pieces = y.split(self.sizes, self.dim)
        mixed = [self.parts[str(i)](x) if str(i) in self.parts else x for i, x in enumerate(pieces)]
        return torch.cat(mixed, self.dim)


def compress_of(module: Compress | CompressParts, part: int) -> Compress:
    """The P of one part of a writer's channels."""
    found = module.parts[str(part)] if isinstance(module, CompressParts) else module
    assert isinstance(found, Compress)
    return found


def _one_or_the_other(alphas: Tensor, draws: Tensor) -> Tensor:
    return (draws < alphas).to(alphas.dtype)


def _share_of(alphas: Tensor, draws: Tensor) -> Tensor:
    return draws * alphas


# Factors (G, N) from α (G, 1) and uniform draws (G, N); None where every example has α itself.
BLENDINGS: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "convex": None,
    "probability": _one_or_the_other,
    "uniform": _share_of,
}


class Mixing(nn.Module):
    """What each example hears of the original: the factor that takes α's place while the network trains.

    "convex" is α itself, for every example alike. "probability" draws, for each example and group, 1 with probability
    α and else 0: the original or the branch, so that every branch learns to be heard alone. "uniform" draws a factor
    from 0 … α. In evaluation mode it is always α.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = "convex"

    def forward(self, alphas: Tensor, x: Tensor) -> Tensor:
        """Factors (G,), or (G, N) where they are drawn for each of the N examples in x."""
        factors = BLENDINGS[self.mode]
        if factors is None or not self.training:
            # A copy: gradients of this pass stay right when α is set again before they are taken.
            return alphas.clone()
        return factors(alphas[:, None], torch.rand(len(alphas), len(x), dtype=alphas.dtype, device=alphas.device))

    def extra_repr(self) -> str:
        return self.mode


class Blend(nn.Module):
    """What readers see of one tensor: α a + (1 − α) (E z + e) for each of its segments.

    α may differ from example to example (see `Mixing`). A segment whose group has no branch comes from the narrow side
    alone, where it flows at full width: there its channelwise layers are copies that will stay after folding.

    Args:
        sizes: (full, narrow) places of each segment along `dim`.
        spans: places of each channel, for each segment.
        alphas: index of each segment's group in the vector α; None without a branch.
        expand: E (C, k) of each segment with a branch, (G, C / G, k / G) before a layer in G groups.
        dim: the channel dimension.
        shifted: whether there is an e (C,) for each of them; in front of a zero-padded convolution, or of a layer
            without a bias, it could not be folded.
    """

    def __init__(
        self,
        sizes: list[tuple[int, int]],
        spans: list[int],
        alphas: list[int | None],
        expand: list[Tensor | None],
        dim: int,
        *,
        shifted: bool = False,
    ) -> None:
        super().__init__()
        self.sizes, self.spans, self.alphas, self.dim = sizes, spans, alphas, dim
        self.expand = nn.ParameterDict({str(i): nn.Parameter(E) for i, E in enumerate(expand) if E is not None})
        shifts = {key: nn.Parameter(E.new_zeros(outputs(E))) for key, E in self.expand.items() if shifted}
        self.shift = nn.ParameterDict(shifts)

    def forward(self, a: Tensor, z: Tensor, alpha: Tensor) -> Tensor:
        """What readers see of a (N, …, full places at `dim`, …) and z (likewise, narrow places) at α (G,) or (G, N)."""
        if len(self.sizes) == 1:
            return self._blend(0, a, z, alpha)
        wide = a.split([full for full, _ in self.sizes], self.dim)
        narrow = z.split([kept for _, kept in self.sizes], self.dim)
        return torch.cat(
            [self._blend(i, a, z, alpha) for i, (a, z) in enumerate(zip(wide, narrow, strict=True))], self.dim
        )

    def delivered(self, z: Tensor) -> Tensor:
        """E z + e of all segments, (N, …, full places at `dim`, …): what readers see at α = 0."""
        narrow = z.split([kept for _, kept in self.sizes], self.dim)
        parts = [z if self.alphas[i] is None else self._expanded(i, z) for i, z in enumerate(narrow)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, self.dim)

    def _blend(self, i: int, a: Tensor, z: Tensor, alpha: Tensor) -> Tensor:
        group = self.alphas[i]
        if group is None:
            return z
        if alpha.dim() == 2:
            factors = for_examples(alpha[group], a)
            return torch.addcmul((1 - factors) * self._expanded(i, z), a, factors)
        # 1 − α goes into E and e: one pass over the tensor fewer, and at α = 1 the sum is a exactly.
        return torch.addcmul(self._expanded(i, z, 1 - alpha[group]), a, alpha[group])

    def _expanded(self, i: int, z: Tensor, share: Tensor | float = 1.0) -> Tensor:
        """(E z + e) · share of one segment."""
        E, span = self.expand[str(i)], self.spans[i]
        e = self.shift.get(str(i))
        if isinstance(share, Tensor):
            E, e = share * E, None if e is None else share * e
        if span == 1:
            return mix_channels(z, E, e, self.dim)
        wide = mix_spans(z, E, span, self.dim)
        return wide if e is None else wide + e.repeat_interleave(span).view(-1, *(1,) * (z.dim() - 1 - self.dim))

    def extra_repr(self) -> str:
        return ", ".join(f"{kept} -> {full}" for full, kept in self.sizes)


def joined(a: Any, z: Any, alpha: Tensor, group: int) -> Any:
    """What is heard of a value without channels: α a + (1 − α) z, of whole numbers and truths the one that counts more.

    Args:
        a: the original's: a tensor, or a list or tuple of such.
        z: the branch's, alike.
        alpha: (G,) or (G, N) α of all groups.
        group: index of the group that determines the value.
    """
    if isinstance(a, tuple | list):
        return type(a)([joined(x, y, alpha, group) for x, y in zip(a, z, strict=True)])
    if not isinstance(a, Tensor):
        a, z = alpha.new_tensor(a), alpha.new_tensor(z)
    factors = for_examples(alpha[group], a) if alpha.dim() == 2 and a.dim() else alpha[group].mean()
    if not a.is_floating_point():
        return torch.where(factors >= 0.5, a, z)
    # Values may be infinite, such as masked ones before a softmax; what is not heard must not reach the sum.
    mixed = torch.addcmul((1 - factors) * z, a, factors)
    return torch.where(factors == 1, a, torch.where(factors == 0, z, mixed))


def narrow_side(a: Any, z: Any) -> Any:
    """What is heard of channels without a branch that were taken from beside others: z, whose layers stay, not `a`."""
    return z


def for_examples(factors: Tensor, x: Tensor) -> Tensor:
    """Factors (N,) of N examples as they multiply x, whose first dimension holds them, in pieces or one by one.

    Where it holds something else, the first example's factor serves for all.
    """
    pieces, rest = divmod(len(x), len(factors))
    each = factors[:1].expand(len(x)) if rest else factors.repeat_interleave(pieces)
    return each.reshape(-1, *(1,) * (x.dim() - 1))


def mix_spans(x: Tensor, weight: Tensor, span: int, dim: int) -> Tensor:
    """Weight (out, in), or its blocks, applied to dimension `dim` of x, to each of a channel's `span` places alike."""
    if span == 1:
        return mix_channels(x, weight, None, dim)
    by_channel = x.unflatten(dim, (inputs(weight), span))
    return mix_channels(by_channel, weight, None, dim).flatten(dim, dim + 1)


def mix_channels(x: Tensor, weight: Tensor, bias: Tensor | None, dim: int) -> Tensor:
    """Weight (out, in), or its blocks, applied to dimension `dim` of x, everywhere else alike.

    That is a 1×1 convolution or a linear layer.
    """
    if dim == 1 and x.dim() in _POINTWISE:
        kernel = weight.reshape(outputs(weight), -1, *(1,) * (x.dim() - 2))
        return _POINTWISE[x.dim()](x, kernel, bias, groups=inputs(weight) // kernel.shape[1])
    weight = dense(weight)
    if dim == x.dim() - 1:
        return F.linear(x, weight, bias)
    return F.linear(x.movedim(dim, -1), weight, bias).movedim(-1, dim)
