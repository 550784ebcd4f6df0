"""An optimizer taken along when its network is folded."""

from torch import nn
from torch.optim import Optimizer

from .network import BranchedNetwork


def carry_optimizer_state(optimizer: Optimizer, before: nn.Module, after: nn.Module) -> None:
    """Points an optimizer at a folded network's parameters, in place.

    A parameter of the same name and shape keeps its state (momentum and the like) and its parameter group; one that
    folding changed in shape or made starts without state, because it has other coordinates, in the first group.
    Learning rates and schedules go on.

    Args:
        optimizer: over parameters of `before`.
        before: the network that was trained so far.
        after: what `fold` made of it.
    """
    known = _parameters(before)
    group_of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    state = dict(optimizer.state)
    members: list[list[nn.Parameter]] = [[] for _ in optimizer.param_groups]
    optimizer.state.clear()
    for name, parameter in _parameters(after).items():
        if not parameter.requires_grad:
            continue
        old = known.get(name)
        if old is None or id(old) not in group_of:
            members[0].append(parameter)
            continue
        members[group_of[id(old)]].append(parameter)
        if old.shape == parameter.shape and old in state:
            optimizer.state[parameter] = state[old]
    for group, parameters in zip(optimizer.param_groups, members, strict=True):
        group["params"] = parameters


def _parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """By name in the user's network; a branch's name starts with a space, as no module's does."""
    if not isinstance(network, BranchedNetwork):
        return dict(network.named_parameters())
    own = dict(network.network.named_parameters())
    return own | {f" {name}": p for name, p in network.named_parameters() if not name.startswith("network.")}
