"""Networks and what is done to them: channel groups, branches, initialisation, folding, cost, checkpoints."""

from .branching import add_branches
from .checkpoints import load_network, save_network
from .folding import fold
from .groups import channel_groups

__all__ = ["add_branches", "channel_groups", "fold", "load_network", "save_network"]
