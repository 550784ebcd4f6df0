"""Networks and what is done to them: channel groups, branches, initialisation, folding, cost, checkpoints."""

from .branches.folding.folding import fold
from .branches.optimizers import carry_optimizer_state
from .branching import add_branches, narrow
from .channels.groups import channel_groups
from .checkpoints import NetworkDescription, load_network, save_network
from .fitting.activations import sensitivity
from .layers.equivalences import treat_as
from .layers.statistics import recompute_batch_norm

__all__ = [
    "NetworkDescription",
    "add_branches",
    "carry_optimizer_state",
    "channel_groups",
    "fold",
    "load_network",
    "narrow",
    "recompute_batch_norm",
    "save_network",
    "sensitivity",
    "treat_as",
]
