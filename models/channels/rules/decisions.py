"""What tracing itself puts into a graph: what the code decided by."""

from torch import fx

from ...tracing.recording.numbers import insisted
from ...tracing.recording.recorder import expect_parts
from ...tracing.recording.session import expect_argument
from ..graph import ChannelGraph
from .registry import rule_for


@rule_for(functions=(insisted,))
def _insisted(node: fx.Node, graph: ChannelGraph) -> None:
    """A size by which the code decides must stay what it is."""
    value = node.args[2] if len(node.args) > 2 else ""
    graph.fix(node, f"the code decides by its number of channels at {value}; decided by an attribute it would be free")


@rule_for(functions=(expect_parts, expect_argument))
def _expected(node: fx.Node, graph: ChannelGraph) -> None:
    """Says nothing of channels."""
