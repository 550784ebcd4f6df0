"""What each kind of operation does to channels: one short rule an operation.

A rule calls `ChannelGraph.write`, `carry` or `fix`. Whatever has no rule is fixed, with its name as the reason; a new
kind of layer is one new rule.
"""

# Each enters its rules.
from . import contractions, decisions, factories, group_norms, layers, norms, numbers, pointwise, positions  # noqa: F401
from .dimensions import shapes, splitting, views  # noqa: F401
from .registry import follow

__all__ = ["follow"]
