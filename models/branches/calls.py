"""What a node of a branched graph does for a branch: told in the node's meta, which copies of a graph share."""

from enum import Enum
from typing import NamedTuple

from torch import fx


class Kind(Enum):
    """What is called on the narrow side; the value names the container of what is called."""

    COMPRESS = "compress"
    NARROW = "narrow"
    VALUES = "values"
    BLEND = "blend"
    # Joins a value without channels that both sides have; the value is no container's.
    JOIN = "join"
    # What both sides call: a function, a method, or a layer of the original's that knows no channels.
    SHARED = "network"


# What initialisation fits, call after call.
_FITTED = (Kind.COMPRESS, Kind.NARROW, Kind.BLEND)


class BranchCall(NamedTuple):
    """One node's part in a branch.

    Attributes:
        kind: what is called.
        path: of the layer or parameter that it stands beside; of a blend, its name in the plan.
    """

    kind: Kind
    path: str


def mark(node: fx.Node, kind: Kind, path: str) -> fx.Node:
    """The node, which tells from now on what it does for a branch."""
    node.meta["branch"] = BranchCall(kind, path)
    return node


def branch_call(node: fx.Node) -> BranchCall | None:
    """What a node of a branched graph does for a branch; None for the original's own nodes."""
    call = node.meta.get("branch")
    assert call is None or isinstance(call, BranchCall)
    return call


def blends(node: fx.Node) -> bool:
    """Whether a node joins the original and the branch."""
    call = branch_call(node)
    return call is not None and call.kind in (Kind.BLEND, Kind.JOIN)


def is_fitted(node: fx.Node) -> bool:
    """Whether a node calls what is fitted to data: P, E or a narrow layer."""
    call = branch_call(node)
    return call is not None and call.kind in _FITTED


def stand_for(node: fx.Node, original: fx.Node) -> fx.Node:
    """The node, which tells from now on whose work in the original's graph it does."""
    node.meta["original"] = original.name
    return node


def name_in_original(node: fx.Node) -> str:
    """Name, in the original's graph, of the node whose value a node of the wide side has where no branch is heard."""
    while blends(node):
        node = node.all_input_nodes[0]
    name = node.meta["original"]
    assert isinstance(name, str)
    return name
