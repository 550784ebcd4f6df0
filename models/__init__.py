"""Networks and what is done to them: channel groups, branches, initialisation, folding, cost, checkpoints."""

from .branches.folding import fold
from .branching import add_branches
from .channels.groups import channel_groups
from .checkpoints import load_network, save_network

__all__ = ["add_branches", "channel_groups", "fold", "load_network", "save_network"]
