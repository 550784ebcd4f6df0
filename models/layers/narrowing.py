"""Layers at another width: copies with a selection of the channels, and new weights put in place."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .copying import deep_copy
from .kinds import channel_tensors, declare_width, has_channel_parameters, kind_of, weight_names


def has_hooks(module: nn.Module) -> bool:
    """Whether code of the user's runs before or after the layer."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def with_channels(module: nn.Module, channels: Tensor) -> nn.Module:
    """A copy of a channelwise layer that holds `channels` (k,) of its C channels: parameters and running statistics."""
    if not has_channel_parameters(module):
        return deep_copy(module)
    module = _without_children(module)
    narrow = deep_copy(module, {tensor: tensor for tensor in channel_tensors(module).values()})
    for name, tensor in channel_tensors(narrow).items():
        _put(narrow, name, tensor.detach()[channels].clone())
    declare_width(narrow, len(channels))
    return narrow


def _without_children(module: nn.Module) -> nn.Module:
    """The layer alone, of one that the code gave children, such as a BatchNorm its activation."""
    alone = object.__new__(type(module))
    alone.__dict__ = {**module.__dict__, "_modules": {}}
    return alone


def joined(pieces: Sequence[tuple[nn.Module, Tensor]]) -> nn.Module:
    """A channelwise layer made of the channels `places` (k,) of each of several layers of one kind, in order.

    A value that one of them has for all channels alike is given to each of its channels.
    """
    parts = [with_channels(layer, places) for layer, places in pieces]
    whole = parts[0]
    for name in channel_tensors(whole):
        values = [channel_tensors(part)[name].detach() for part in parts]
        each = [x.expand(len(places), *x.shape[1:]) for x, (_, places) in zip(values, pieces, strict=True)]
        _put(whole, name, torch.cat(each))
    declare_width(whole, sum(len(places) for _, places in pieces))
    return whole


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    """Puts a tensor of another size in the place of a parameter or buffer."""
    old = module._parameters.get(name)
    if old is None:
        module._buffers[name] = value
    else:
        module._parameters[name] = nn.Parameter(value, old.requires_grad)


def own_tensor(module: nn.Module, name: str) -> Tensor | None:
    """A layer's weight (out, in, *kernel) or bias (out,) as it lies there, without its history; None if it has none."""
    if name == "weight" and len(names := weight_names(module)) > 1:
        return torch.cat([module.get_parameter(each).detach() for each in names])
    name = weight_names(module)[0] if name == "weight" else name
    parameter = module._parameters.get(name)
    return None if parameter is None else parameter.detach()


def _memory_format(tensor: Tensor) -> torch.memory_format:
    """Whether the channels of a weight come last in memory, as `network.to(memory_format=…)` lays them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = formats.get(tensor.dim())
    if last is None or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=last):
        return torch.contiguous_format
    return last


def set_weight(module: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Puts a weight and a bias of another size in place; dtype, device, memory format and `requires_grad` stay."""
    names = weight_names(module)
    weights = [weight] if len(names) == 1 else [w.clone() for w in weight.chunk(len(names))]
    for name, value in (*zip(names, weights, strict=True), ("bias", bias)):
        old = module._parameters.get(name)
        if old is not None and value is not None and value is not old:
            new = value.detach().to(old.dtype).to(old.device).contiguous(memory_format=_memory_format(old))
            module._parameters[name] = nn.Parameter(new, old.requires_grad)
    if isinstance(module, nn.RNNBase):  # which keeps a list of them beside
        module._flat_weights = [module._parameters.get(name) for name in module._flat_weights_names]
    declare_width(module)


def reset(module: nn.Module) -> None:
    """Draws a layer's parameters anew, by torch's own default for it."""
    if kind_of(module) is not None and callable(draw := getattr(module, "reset_parameters", None)):
        draw()
