"""Multiplying compress (P) and expand (E) into the weights beside them: exact, because every neighbour pair is linear.

Half-precision weights are folded in float32, others in their own precision. Shapes: a convolution's weight is
(out, in, *kernel), a linear layer's (out, in). The formulas stand in the README under "Which einsum is right".
"""

import copy

import torch
from torch import Tensor, nn

from .branched import BranchedNetwork, key_of
from .branches import Blend, Compress
from .narrowing import own_tensor, set_weight


def fold_compress(weight: Tensor, bias: Tensor | None, P: Tensor, p: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """P after a writer: W'[a] = Σ_b P[a,b] W[b] and b' = P b + p.

    Args:
        weight: (C, in, *kernel) of the writer.
        bias: (C,), or None for a writer without one.
        P: (k, C).
        p: (k,), or None.

    Returns:
        The weight (k, in, *kernel) and the bias (k,), None where there is neither `bias` nor `p`.
    """
    dtype = _precision(weight)
    P = P.to(dtype)
    folded = torch.einsum("ab,b...->a...", P, weight.to(dtype)).to(weight.dtype)
    if bias is None and p is None:
        return folded, None
    shift = torch.zeros(P.shape[0], dtype=dtype, device=P.device) if p is None else p.to(dtype)
    if bias is not None:
        shift = shift + P @ bias.to(dtype)
    return folded, shift.to(weight.dtype)


def fold_expand(weight: Tensor, E: Tensor, span: int = 1) -> Tensor:
    """E before a reader: W'[:, f] = Σ_e W[:, e] E[e, f]; after a flatten W'[o, f·S+s] = Σ_e W[o, e·S+s] E[e, f].

    Args:
        weight: (out, C·span, *kernel) of the reader.
        E: (C, k).
        span: S, places that each channel takes in the reader's input: H·W after a flatten, else 1.

    Returns:
        The weight (out, k·span, *kernel).
    """
    out, kernel = weight.shape[0], weight.shape[2:]
    dtype = _precision(weight)
    # (out · S · kernel, C) @ (C, k): one product instead of one for each output.
    by_channel = weight.to(dtype).reshape(out, E.shape[0], -1).transpose(1, 2)
    folded = (by_channel @ E.to(dtype)).transpose(1, 2)
    return folded.reshape(out, E.shape[1] * span, *kernel).to(weight.dtype)


def _precision(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def fold(branched: BranchedNetwork) -> nn.Module:
    """The network at α = 0 as a plain module: the user's own class and module names, narrower weights.

    Whatever α is now, what comes back is the network at α = 0. `branched` is not changed.
    """
    network = copy.deepcopy(branched.network)
    for path in branched.in_place:
        network.get_submodule(path).inplace = True  # type: ignore[assignment]
    for path in dict.fromkeys((*branched.plan.readers, *branched.plan.writers)):
        _fold_layer(branched, path, network.get_submodule(path))
    for path in branched.plan.carriers:
        network.set_submodule(path, copy.deepcopy(branched.narrow.get_submodule(key_of(path))))
    return network


def _fold_layer(branched: BranchedNetwork, path: str, layer: nn.Module) -> None:
    weight, bias = own_tensor(layer, "weight"), own_tensor(layer, "bias")
    assert weight is not None
    if path in branched.plan.readers:
        weight = _fold_blend(weight, branched, branched.plan.readers[path])
    if path in branched.plan.writers:
        compress = branched.compress.get_submodule(key_of(path))
        assert isinstance(compress, Compress)
        weight, bias = fold_compress(weight, bias, compress.weight, compress.bias)
    set_weight(layer, weight, bias)


def _fold_blend(weight: Tensor, branched: BranchedNetwork, name: str) -> Tensor:
    blend = branched.blend.get_submodule(name)
    assert isinstance(blend, Blend)
    parts = branched.plan.blends[name]
    columns = weight.split([part.width * part.span for part in parts], 1)
    folded = [
        fold_expand(column, blend.expand[str(i)], part.span) if part.branched else column
        for i, (column, part) in enumerate(zip(columns, parts, strict=True))
    ]
    return torch.cat(folded, 1)
