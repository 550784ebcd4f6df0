"""Multiplying compress (P) and expand (E) into the weights beside them: exact, because every neighbour pair is linear.

Half-precision weights are folded in float32, others in their own precision. Shapes: a convolution's weight is
(out, in, *kernel), a linear layer's (out, in). The formulas stand in the README under "Which einsum is right".
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import overload
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ....errors import NetworkError
from ...channels.groups import Analysis
from ...channels.parameters import held_tensor, put_tensor
from ...layers.copying import deep_copy
from ...layers.kinds import by_output, weight_names
from ...layers.modes import modes_of, set_modes
from ...layers.narrowing import joined, own_tensor, set_weight
from ...tracing.plain.classes import restore_classes
from ...tracing.plain.equivalents import restore_layers
from ...tracing.recording.flow import held_tensors
from ..blocks import dense, diagonal, fold_expand_in_groups
from ..modules import Blend, CompressParts, compress_of
from ..network import BranchedNetwork, Unmade
from ..plan import Part
from .attributes import require_alike, require_followed, rewrite_attributes
from .copies import copied_to_fold
from .cutting import cut

# Positions of a weight from which one product for each output is as quick as one for each position; it copies nothing.
_MANY_POSITIONS = 16


def fold_compress(
    weight: Tensor, bias: Tensor | None, P: Tensor, p: Tensor | None, span: int = 1
) -> tuple[Tensor, Tensor | None]:
    """P after a writer: W'[a] = Σ_b P[a,b] W[b] and b' = P b + p; likewise for each of a channel's S places.

    Args:
        weight: (C·S, in, *kernel) of the writer.
        bias: (C·S,), or None for a writer without one.
        P: (k, C), or (G, k / G, C / G) behind a layer in G groups.
        p: (k·S,), or None.
        span: S, places that each channel takes in what is written.

    Returns:
        The weight (k·S, in, *kernel) and the bias (k·S,), None where there is neither `bias` nor `p`.
    """
    dtype = _precision(weight)
    P = P.to(dtype)
    by_channel = weight.to(dtype).unflatten(0, (-1, span))
    folded = _mixed(P, by_channel).flatten(0, 1).to(weight.dtype)
    if bias is None and p is None:
        return folded, None
    shift = torch.zeros(len(folded), dtype=dtype, device=P.device) if p is None else p.to(dtype)
    if bias is not None:
        shift = shift + _mixed(P, bias.to(dtype).view(-1, span)).flatten()
    return folded, shift.to(weight.dtype)


def _mixed(P: Tensor, weight: Tensor) -> Tensor:
    """P (k, C), or its blocks, times a weight (C, ...); rows are taken instead where P only selects them."""
    if P.dim() == 3:
        pieces = weight.flatten(1).unflatten(0, (len(P), -1))
        return (P @ pieces).flatten(0, 1).unflatten(1, weight.shape[1:])
    if _selects(P):
        return weight[P.argmax(1)]
    return (P @ weight.flatten(1)).unflatten(1, weight.shape[1:])


def _selects(P: Tensor) -> bool:
    """Whether every row of P (k, C) is 1 in one place and 0 elsewhere."""
    return bool(P.count_nonzero() == len(P) and (P.amax(1) == 1).all())


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
    E = E.to(dtype)
    by_channel = weight.to(dtype).reshape(out, E.shape[0], -1)  # (out, C, S · kernel)
    if _selects(E.T):
        folded = by_channel[:, E.argmax(0)]
    elif by_channel.shape[2] < _MANY_POSITIONS:
        folded = (by_channel.permute(2, 0, 1) @ E).permute(1, 2, 0)
    else:
        folded = torch.bmm(E.T.contiguous().expand(out, -1, -1), by_channel)
    return folded.flatten(1).reshape(out, E.shape[1] * span, *kernel).to(weight.dtype)


def fold_shift(weight: Tensor, bias: Tensor, e: Tensor, span: int = 1) -> Tensor:
    """The bias of a reader that has e before it: b' = b + Σ W e over all that the weight adds up.

    Args:
        weight: (out, C·span, *kernel) of the reader, or of its part that reads these channels.
        bias: (out,).
        e: (C,).
        span: S, places that each channel takes in the reader's input.

    Returns:
        The bias (out,).
    """
    dtype = _precision(weight)
    by_channel = weight.to(dtype).reshape(len(weight), len(e), -1).sum(2)
    return (bias.to(dtype) + by_channel @ e.to(dtype)).to(bias.dtype)


def _precision(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


# What folding gave: a loop over stages ends with `fold(network)`, whether or not its last stage left a branch.
_FOLDED: WeakSet[nn.Module] = WeakSet()


@overload
def fold(branched: nn.Module) -> nn.Module: ...
@overload
def fold(branched: BranchedNetwork, groups: Collection[str]) -> nn.Module | BranchedNetwork: ...
@torch.inference_mode(False)  # what is folded may be trained on
def fold(branched: nn.Module, groups: Collection[str] | None = None) -> nn.Module | BranchedNetwork:
    """The network at α = 0 as a plain module: the user's own class and module names, narrower weights.

    Whatever α is now, what comes back is the network at α = 0. `branched` is not changed.

    Args:
        branched: the network with branches. What an earlier `fold` gave without any is given back as it is.
        groups: fold these groups only; the others keep their branches and their α, and what comes back is branched,
            unless no branch is left. Layers that were not touched keep their parameters' names and values:
            `carry_optimizer_state` takes an optimizer along.

    Raises:
        NetworkError: if `branched` is any other network without branches, a group has none, or numbers that the
            network's modules hold follow from widths in a way that does not show until the folded network runs.
    """
    if isinstance(groups, str):
        raise NetworkError(f"groups must be a collection of names, but got {groups!r}: write [{groups!r}]")
    if not isinstance(branched, BranchedNetwork):
        if not isinstance(branched, nn.Module) or branched not in _FOLDED:
            raise NetworkError(f"fold takes what add_branches gave, but got a {type(branched).__name__}")
        _chosen(groups or (), ())
        return branched
    chosen = _chosen(groups, branched.plan.widths)
    if branched.unmade is not None and len(chosen) == len(branched.plan.widths):
        network = _cut(branched, branched.unmade)
        _FOLDED.add(network)
        return network
    network = _folded(branched, chosen)
    rest = {name: width for name, width in branched.plan.widths.items() if name not in chosen}
    if rest:
        return _with_branches_of(branched, network, rest)
    if branched.plan.attributes:
        twin = deep_copy(branched).double()
        require_alike(twin, _folded(twin, chosen))
    _FOLDED.add(network)
    return network


def folded_layer(branched: BranchedNetwork, path: str, *, narrow: bool) -> nn.Module:
    """A copy of one of the original's layers with E and e of what it reads, and where `narrow` P of what it writes.

    Without p, so that what P selects of it can be looked at before p is known.

    Args:
        branched: the network; it is not changed.
        path: of a layer that reads or writes a group with a branch.
        narrow: whether it writes the channels that P selects, or all of them.
    """
    layer = branched.network.get_submodule(path)
    weights = [layer.get_parameter(name) for name in weight_names(layer)]
    alone = deep_copy(layer, {weight: weight for weight in weights})  # they are replaced
    written = branched.plan.writers.get(path, ()) if narrow else ()
    with torch.no_grad():
        _fold_layer(branched, path, alone, set(branched.plan.widths), written, shifted=False)
    return alone


def _folded(branched: BranchedNetwork, chosen: set[str]) -> nn.Module:
    """The network without these branches; of others nothing is left but the original's wide layers."""
    carriers = {path: _folded_carrier(branched, path, parts, chosen) for path, parts in branched.plan.carriers.items()}
    network = copied_to_fold(branched.network, carriers, _layers_of(branched, chosen))
    with torch.no_grad():
        for path in _layers_of(branched, chosen):
            written = branched.plan.writers.get(path, ())
            _fold_layer(branched, path, network.get_submodule(path), chosen, written, shifted=True)
    for path, parts in branched.plan.values.items():
        if any(part.branched and part.group in chosen for part in parts):
            put_tensor(network, path, _folded_values(branched, path, parts, chosen))
    return _finished(branched, network, chosen)


def _finished(branched: BranchedNetwork, network: nn.Module, chosen: set[str]) -> nn.Module:
    """The network with narrow layers as one of the user's: their classes, and numbers that say how wide it is."""
    for path in branched.in_place:
        network.get_submodule(path).inplace = True  # type: ignore[assignment]
    rewrite_attributes(branched, network, chosen)
    restore_classes(network)
    restore_layers(network)
    return network


def _cut(branched: BranchedNetwork, unmade: Unmade) -> nn.Module:
    """The network without branches that are not made yet."""
    network, all_ = cut(unmade), set(branched.plan.widths)
    if branched.plan.attributes:
        plain = deep_copy(network).float() if any(map(_is_half, network.parameters())) else network
        shared: dict[Tensor | nn.Module, Tensor | nn.Module] = {tensor: tensor for tensor in held_tensors(plain)}
        require_followed(unmade.planning, plain, _finished(branched, deep_copy(plain, shared), all_), branched.example)
    return _finished(branched, network, all_)


def _is_half(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype.itemsize < 4


def _chosen(groups: Collection[str] | None, there: Collection[str]) -> set[str]:
    """The groups to fold: those named, or all that have a branch."""
    for name in groups or ():
        if name not in there:
            raise NetworkError(f"group {name!r} has no branch; there are {', '.join(there) or 'none'}")
    return set(there if groups is None else groups)


def _layers_of(branched: BranchedNetwork, chosen: set[str]) -> list[str]:
    """The layers that write or read one of the groups."""
    plan = branched.plan
    blends = {name for name, parts in plan.blends.items() if any(p.branched and p.group in chosen for p in parts)}
    reading = [path for path, blend in plan.readers.items() if blend in blends]
    writing = [path for path, parts in plan.writers.items() if any(p.branched and p.group in chosen for p in parts)]
    return list(dict.fromkeys((*reading, *writing)))


def _fold_layer(
    branched: BranchedNetwork,
    path: str,
    layer: nn.Module,
    chosen: set[str],
    written: tuple[Part, ...],
    *,
    shifted: bool,
) -> None:
    weight, bias = own_tensor(layer, "weight"), own_tensor(layer, "bias")
    assert weight is not None
    weight, groups = by_output(layer, weight), getattr(layer, "groups", 1)
    read = branched.plan.blends[branched.plan.readers[path]] if path in branched.plan.readers else ()
    compress_first = _is_cheaper_first(written, read)
    if written and compress_first:
        weight, bias = _fold_parts(weight, bias, branched, path, chosen, shifted=shifted)
    if read:
        weight, bias = _fold_blend(weight, bias, branched, branched.plan.readers[path], groups, chosen)
    if written and not compress_first:
        weight, bias = _fold_parts(weight, bias, branched, path, chosen, shifted=shifted)
    set_weight(layer, by_output(layer, weight), bias)


def _fold_parts(
    weight: Tensor, bias: Tensor | None, branched: BranchedNetwork, path: str, chosen: set[str], *, shifted: bool
) -> tuple[Tensor, Tensor | None]:
    """A writer's weight and bias with the P, and where `shifted` the p, of each part whose group is folded."""
    parts, module = branched.plan.writers[path], branched.compress.at(path)
    sizes = [part.width * part.span for part in parts]
    biases = [None] * len(parts) if bias is None else bias.split(sizes)
    folded = []
    for i, (part, w, b) in enumerate(zip(parts, weight.split(sizes), biases, strict=True)):
        if part.branched and part.group in chosen:
            compress = compress_of(module, i)
            w, b = fold_compress(w, b, compress.weight, compress.bias if shifted else None, part.span)
        folded.append((w, b))
    if len(folded) == 1:
        return folded[0]
    shifts = [b for _, b in folded if b is not None]
    return torch.cat([w for w, _ in folded]), torch.cat(shifts) if shifts else None


def _is_cheaper_first(written: tuple[Part, ...], read: tuple[Part, ...]) -> bool:
    """Whether P before the expands takes fewer multiplications than P after them."""
    out = sum(part.width * part.span for part in written)
    kept = sum(part.kept * part.span for part in written)
    wide = sum(part.width * part.span for part in read)
    narrow = sum(part.kept * part.span for part in read)
    expand = sum(part.width * part.kept * part.span for part in read if part.branched)  # for each row of the weight
    return kept * (out * wide + expand) <= out * (expand + kept * narrow)


def _fold_blend(
    weight: Tensor, bias: Tensor | None, branched: BranchedNetwork, name: str, groups: int, chosen: set[str]
) -> tuple[Tensor, Tensor | None]:
    """A reader's weight (out, full places / groups, *kernel) and bias with E and e of each part that is folded."""
    blend, parts = branched.blend.at(name), branched.plan.blends[name]
    if groups > 1:
        E, e = _in_one(blend, [part if part.group in chosen else replace(part, kept=part.width) for part in parts])
        return fold_expand_in_groups(weight, bias, diagonal(E.to(weight), groups), e.to(weight))
    columns = list(weight.split([part.width * part.span for part in parts], 1))
    for i, part in enumerate(parts):
        if part.branched and part.group in chosen:
            if bias is not None and str(i) in blend.shift:
                bias = fold_shift(columns[i], bias, blend.shift[str(i)], part.span)
            columns[i] = fold_expand(columns[i], dense(blend.expand[str(i)]), part.span)
    return columns[0] if len(columns) == 1 else torch.cat(columns, 1), bias


def _in_one(blend: Blend, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """E (full places, narrow places) and e (full places,) of a whole tensor, in which parts without a branch stay."""
    like, Es, es = next(blend.parameters()), [], []
    for i, part in enumerate(parts):
        E = dense(blend.expand[str(i)]) if part.branched else torch.eye(part.width).to(like)
        e = blend.shift[str(i)] if part.branched and str(i) in blend.shift else E.new_zeros(part.width)
        Es.append(torch.kron(E, torch.eye(part.span).to(E)))
        es.append(e.repeat_interleave(part.span))
    return torch.block_diag(*Es), torch.cat(es)


def _folded_carrier(branched: BranchedNetwork, path: str, parts: tuple[Part, ...], chosen: set[str]) -> nn.Module:
    """The narrow copy; of a concatenation that is folded in part, the original's channels where branches remain."""
    narrow = branched.narrow.at(path)
    if all(part.group in chosen or not part.branched for part in parts):
        return deep_copy(narrow)
    whole = branched.network.get_submodule(path)
    if not any(part.group in chosen for part in parts):
        return deep_copy(whole)
    pieces, wide_start, narrow_start = [], 0, 0
    for part in parts:
        stays = part.branched and part.group not in chosen
        start, size = (wide_start, part.width) if stays else (narrow_start, part.kept)
        places = torch.arange(start, start + size * part.span)
        pieces.append((whole if stays else narrow, places))
        wide_start += part.width * part.span
        narrow_start += part.kept * part.span
    return joined(pieces)


def _folded_values(branched: BranchedNetwork, path: str, parts: tuple[Part, ...], chosen: set[str]) -> nn.Parameter:
    """The narrow values; where branches remain, the original's."""
    narrow = branched.values.at(path)
    if all(part.group in chosen or not part.branched for part in parts):
        return copy.deepcopy(narrow)
    whole, dim = held_tensor(branched.network, path), branched.plan.value_dims[path]
    assert whole is not None
    wide_pieces = whole.detach().split([part.width * part.span for part in parts], dim)
    narrow_pieces = narrow.detach().split([part.kept * part.span for part in parts], dim)
    pieces = [
        wide if part.branched and part.group not in chosen else kept
        for part, wide, kept in zip(parts, wide_pieces, narrow_pieces, strict=True)
    ]
    return nn.Parameter(torch.cat(pieces, dim), narrow.requires_grad)


def _take_compress(rest: BranchedNetwork, branched: BranchedNetwork, path: str, parts: tuple[Part, ...]) -> None:
    """Gives a writer's parts that still have a branch the P that they had."""
    old, new = branched.compress.at(path), rest.compress.at(path)
    if isinstance(new, CompressParts):
        for i, part in enumerate(parts):
            if part.branched:
                new.parts[str(i)] = deep_copy(compress_of(old, i))
    else:
        rest.compress.put(path, deep_copy(old))


def _with_branches_of(branched: BranchedNetwork, network: nn.Module, widths: dict[str, int]) -> BranchedNetwork:
    """The partly folded network with the branches that remain, their weights and α as they were."""
    modes = modes_of(network)
    rest = BranchedNetwork.at(Analysis.of(network, branched.example, branched.plan.in_groups), widths)
    set_modes(rest.network, modes)
    for path, parts in rest.plan.writers.items():
        _take_compress(rest, branched, path, parts)
    for path in rest.plan.carriers:
        rest.narrow.put(path, deep_copy(branched.narrow.at(path)))
    for path in rest.plan.values:
        rest.values.put(path, copy.deepcopy(branched.values.at(path)))
    with torch.no_grad():
        for name in rest.plan.blends:
            old, new = branched.blend.at(name), rest.blend.at(name)
            for before, after in ((old.expand, new.expand), (old.shift, new.shift)):
                for part, parameter in after.items():
                    parameter.copy_(before[part]).requires_grad_(before[part].requires_grad)
    rest.set_blending(branched.mixing.mode)
    for container in (rest, rest.mixing, rest.compress, rest.narrow, rest.values, rest.blend):
        container.training = branched.training
    rest.set_alpha({name: alpha for name, alpha in branched.alpha.items() if name in widths})
    return rest
