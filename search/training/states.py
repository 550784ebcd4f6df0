"""The state of a training in tensors and plain values, and a training put back into it bit by bit.

Nothing of it is a pickled object: `torch.load(weights_only=True)` reads it all.
"""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import NetworkError

State = dict[str, Any]


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those that no state dict has too; as they lie in memory."""
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: tensor.detach() for name, tensor in own.items()}


def fill(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Puts tensors into a network of the same structure.

    Their strides come along, which copying would lose: the order in which a product adds up may follow from them.

    Args:
        network: to be filled; its parameters stay the same objects.
        tensors: that `tensors_of` gave.

    Raises:
        NetworkError: if names, shapes or types are others.
    """
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    if own.keys() != tensors.keys():
        raise NetworkError(f"a checkpoint of another network: {', '.join(sorted(own.keys() ^ tensors.keys()))[:200]}")
    for name, tensor in own.items():
        given = tensors[name]
        if (given.shape, given.dtype) != (tensor.shape, tensor.dtype):
            raise NetworkError(f"a checkpoint of another network: {name} is {given.dtype} {tuple(given.shape)} there")
        tensor.data = given.to(tensor.device)


def optimizer_state(optimizer: Optimizer, network: nn.Module) -> State:
    """What an optimizer knows, by the names of the network's parameters, in its own order of them."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        "order": [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups],
        "rates": [group["lr"] for group in optimizer.param_groups],
        "memory": {names[id(p)]: dict(known) for p, known in optimizer.state.items()},
    }


def restore_optimizer(optimizer: Optimizer, network: nn.Module, state: State) -> None:
    """Puts an optimizer of the same kind into the state; the norm of a gradient follows from the order too."""
    parameters = dict(network.named_parameters())
    optimizer.state.clear()
    for group, names, rate in zip(optimizer.param_groups, state["order"], state["rates"], strict=True):
        group["params"], group["lr"] = [parameters[name] for name in names], rate
    for name, known in state["memory"].items():
        device = parameters[name].device
        moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in known.items()}
        optimizer.state[parameters[name]] = moved


def seed_random(seed: int) -> None:
    """Seeds all generators that training and a user's data may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_states() -> State:
    """The states of all generators that training and a user's data may draw from."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    state: State = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(state: State) -> None:
    """Puts all generators into a state that `random_states` gave."""
    torch.set_rng_state(state["torch"])
    version, internal, following = state["python"]
    random.setstate((version, tuple(internal), following))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
