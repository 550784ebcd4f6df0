"""Products of tensors, summed over dimensions: matmul, einsum, attention. Summed over channels, they have none.

Each dimension of each operand has a name, as in einsum; dimensions of one name run together. Channels that lie in a
dimension which the product keeps are the channels of the product. Products of channels with channels, as in attention
among them, hold a value for each two; these must be of one set, which is folded at once.
"""

import operator
from collections.abc import Hashable, Iterable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...tracing.attention.steps import attention_weights
from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..layouts import Layout
from ..nodes import label
from .claims import claimed
from .registry import not_known, rule_for

Names = Sequence[Hashable]


def contract(node: fx.Node, graph: ChannelGraph, operands: Sequence[tuple[fx.Node, Names]], out: Names) -> None:
    """`node` yields Σ of the products of its operands over all dimensions whose names are not in `out`.

    Args:
        node: of the product.
        graph: that it is part of.
        operands: each with the names of its dimensions; where its size is 1 and another's of that name is not, its
            values are the same for all.
        out: names of the product's dimensions.
    """
    sizes: dict[Hashable, int] = {}
    for operand, names in operands:
        for name, size in zip(names, shape_of(operand) or (), strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    known = [(layout, names) for x, names in operands for layout in graph.all_along(x)]
    along: dict[Hashable, Layout] = {}
    for layout, names in known:
        along.setdefault(names[layout.dim], layout)
    for name, layout in list(along.items()):
        for operand, names in operands:
            if reason := _unlike(operand, names, name, layout, sizes, graph):
                layout.fix(f"{node.name} {reason}")
                along.pop(name, None)
    if not known:
        return not_known(node, graph)
    return _enter(node, graph, out, along, sizes)


def _enter(
    node: fx.Node, graph: ChannelGraph, out: Names, along: dict[Hashable, Layout], sizes: dict[Hashable, int]
) -> None:
    kept = sorted((name for name in along if name in out), key=list(out).index)
    summed = [name for name in along if name not in out]
    if not along:
        return None
    if len(kept) + bool(summed) > 1 and (len(kept) > 2 or not _are_one(along.values())):
        told = "sums over channels beside those of" if summed else "has channels along several dimensions, of"
        return graph.fix(node, f"{node.name} {told} another layer")
    graph.products[node] = (prod(size for name, size in sizes.items() if name not in along), tuple(along.values()))
    layouts = [along[name].at(list(out).index(name)) for name in kept]
    if len(layouts) == 2:
        return graph.carry_pairs(node, *layouts)
    if kept:
        return graph.carry_mixed(node, *layouts) if summed else graph.carry(node, *layouts)
    return graph.derive(node, Layout(0, tuple(segment for name in summed for segment in along[name].given)))


def _are_one(layouts: Iterable[Layout]) -> bool:
    """Makes the channels along all dimensions one set: so each of them may depend on all others."""
    first, *others = (layout.at(0) for layout in layouts)
    return all(first.unite(other) for other in others)


def _unlike(
    operand: fx.Node,
    names: Names,
    name: Hashable,
    layout: Layout,
    sizes: dict[Hashable, int],
    graph: ChannelGraph,
) -> str:
    """Why an operand's dimension of that name does not run along the same channels; empty if it does."""
    shape = shape_of(operand) or ()
    for dim in (dim for dim, other in enumerate(names) if other == name):
        if shape[dim] == 1 and sizes[name] != 1:
            continue
        mine = next((x for x in graph.all_along(operand) if x.dim == dim), None) or claimed(operand, dim, graph)
        if mine is None:
            return f"combines it with {label(operand)}, which no layer writes"
        if not mine.at(0).unite(layout.at(0)):
            mine.fix("it is combined with channels that do not line up")
            return "combines tensors whose channels do not line up"
    return ""


def _ahead(rank: int, own: int) -> list[Hashable]:
    """Names of the dimensions before the last `own`, counted from behind."""
    return [("ahead", i) for i in range(rank - own, 0, -1)]


def _rank(node: fx.Node) -> int:
    return len(shape_of(node) or ())


@rule_for(
    functions=(torch.matmul, torch.bmm, torch.mm, torch.mv, operator.matmul),
    methods="matmul bmm mm mv __matmul__",
)
def _matmul(node: fx.Node, graph: ChannelGraph) -> None:
    operands = graph.tensors(node) if len(node.args) != 2 else [*node.args]
    if len(operands) != 2 or not all(isinstance(x, fx.Node) and _rank(x) for x in operands):
        return not_known(node, graph)
    return _product(node, graph, operands[0], operands[1], ())  # type: ignore[arg-type]


@rule_for(functions=(torch.baddbmm, torch.addmm), methods="baddbmm addmm")
def _added_product(node: fx.Node, graph: ChannelGraph) -> None:
    """Input + a @ b."""
    if len(node.args) != 3 or not all(isinstance(x, fx.Node) and _rank(x) for x in node.args):
        return not_known(node, graph)
    added, a, b = node.args
    return _product(node, graph, a, b, (added,))  # type: ignore[arg-type]


def _product(node: fx.Node, graph: ChannelGraph, a: fx.Node, b: fx.Node, added: Sequence[fx.Node]) -> None:
    """`a` (…, n, k) @ `b` (…, k, m); one of a single dimension is a vector (k,)."""
    rows: list[Hashable] = ["n"] if _rank(a) > 1 else []
    columns: list[Hashable] = ["m"] if _rank(b) > 1 else []
    names_a = [*_ahead(_rank(a), len(rows) + 1), *rows, "k"]
    names_b = [*_ahead(_rank(b), len(columns) + 1), "k", *columns]
    out = [*_ahead(_rank(node), len(rows) + len(columns)), *rows, *columns]
    contract(node, graph, [(a, names_a), (b, names_b), *((x, out[len(out) - _rank(x) :]) for x in added)], out)


@rule_for(functions=(attention_weights,))
def _attention_weights(node: fx.Node, graph: ChannelGraph) -> None:
    """Of each query (…, n, k) the shares of all keys (…, m, k), and what is added to them before (…, n, m)."""
    query, key, *rest = node.args
    graph.weigh(node)  # a scale
    masks = [x for x in (*rest[:1], node.kwargs.get("attn_mask")) if isinstance(x, fx.Node)]
    if not isinstance(query, fx.Node) or not isinstance(key, fx.Node):
        return not_known(node, graph)
    rank = _rank(node)
    out = [*_ahead(rank, 2), "n", "m"]
    operands = [(query, [*_ahead(_rank(query), 2), "n", "k"]), (key, [*_ahead(_rank(key), 2), "m", "k"])]
    return contract(node, graph, [*operands, *((x, out[rank - _rank(x) :]) for x in masks)], out)


@rule_for(functions=(torch.einsum,))
def _einsum(node: fx.Node, graph: ChannelGraph) -> None:
    equation, *rest = node.args
    given: Any = rest[0] if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest
    if not isinstance(equation, str) or not all(isinstance(x, fx.Node) for x in given):
        return not_known(node, graph)
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "->" not in equation:
        letters = left.replace(",", "").replace(".", "")
        right = ("..." if "." in left else "") + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    names = [_lettered(term, _rank(x)) for term, x in zip(terms, given, strict=True)]
    if any(len(set(each)) < len(each) for each in names):
        return not_known(node, graph)  # a diagonal
    return contract(node, graph, list(zip(given, names, strict=True)), _lettered(right, _rank(node)))


def _lettered(term: str, rank: int) -> list[Hashable]:
    before, dots, behind = term.partition("...")
    ahead = _ahead(rank, len(before) + len(behind)) if dots else []
    return [*before, *ahead, *behind]


@rule_for(functions=(F.cosine_similarity, F.pairwise_distance, torch.cosine_similarity, torch.pairwise_distance))
def _similarity(node: fx.Node, graph: ChannelGraph) -> None:
    """One number for two vectors, along one dimension."""
    a, b = node.args[:2] if len(node.args) > 1 else (None, None)
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node):
        return not_known(node, graph)
    rank = max(_rank(a), _rank(b))
    similar = "cosine" in graph.operation(node)
    dim: Any = (node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 1)) if similar else rank - 1
    names = _ahead(rank, 0)
    if not isinstance(dim, int):
        return not_known(node, graph)
    out = [name for i, name in enumerate(names) if i != dim % rank or _rank(node) == rank]
    if _rank(node) == rank:
        out[dim % rank] = "one"
    contract(node, graph, [(x, names[rank - _rank(x) :]) for x in (a, b)], out)
    graph.products.pop(node, None)
    return None


@rule_for(functions=(torch.cdist,))
def _distances(node: fx.Node, graph: ChannelGraph) -> None:
    """Of each of (…, n, k) to each of (…, m, k)."""
    a, b = node.args[:2] if len(node.args) > 1 else (None, None)
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node):
        return not_known(node, graph)
    operands = [(a, [*_ahead(_rank(a), 2), "n", "k"]), (b, [*_ahead(_rank(b), 2), "m", "k"])]
    contract(node, graph, operands, [*_ahead(_rank(node), 2), "n", "m"])
    graph.products.pop(node, None)
    return None
