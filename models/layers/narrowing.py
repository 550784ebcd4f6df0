"""Layers at another width: copies with a selection of the channels, and new weights put in place."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .copying import deep_copy

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
# By name, because importing torchvision takes a second: a BatchNorm of detection networks, all of it buffers.
FROZEN_BATCH_NORM = "torchvision.ops.misc.FrozenBatchNorm2d"


def qualified_name(target: Callable[..., Any]) -> str:
    """Module and name of a function or class."""
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', '')}"


def has_channel_parameters(module: nn.Module) -> bool:
    """Whether a channelwise layer holds values of each channel, so that a narrow copy differs from it."""
    if isinstance(module, nn.PReLU):
        return module.num_parameters > 1
    known = isinstance(module, (*CONVOLUTIONS, *BATCH_NORMS, *INSTANCE_NORMS))
    return known or qualified_name(type(module)) == FROZEN_BATCH_NORM


def has_hooks(module: nn.Module) -> bool:
    """Whether code of the user's runs before or after the layer."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def with_channels(module: nn.Module, channels: Tensor) -> nn.Module:
    """A copy of a channelwise layer that holds `channels` (k,) of its C channels: parameters and running statistics."""
    if not has_channel_parameters(module):
        return deep_copy(module)
    replaced = [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.dim() == 1)]
    narrow = deep_copy(module, {tensor: tensor for tensor in replaced})
    for name, parameter in narrow._parameters.items():
        if parameter is not None:
            narrow._parameters[name] = nn.Parameter(parameter.detach()[channels].clone(), parameter.requires_grad)
    for name, buffer in narrow._buffers.items():
        if buffer is not None and buffer.dim() == 1:
            narrow._buffers[name] = buffer[channels].clone()
    if isinstance(narrow, (*BATCH_NORMS, *INSTANCE_NORMS)):
        narrow.num_features = len(channels)
    declare_width(narrow)
    return narrow


def joined(pieces: Sequence[tuple[nn.Module, Tensor]]) -> nn.Module:
    """A channelwise layer made of the channels `places` of each of several layers of one kind, in order."""
    parts = [with_channels(layer, places) for layer, places in pieces]
    whole = parts[0]
    for tensors in ("_parameters", "_buffers"):
        for name, value in getattr(whole, tensors).items():
            if value is None or value.dim() == 0:
                continue
            values = torch.cat([getattr(part, tensors)[name].detach() for part in parts])
            is_parameter = isinstance(value, nn.Parameter)
            getattr(whole, tensors)[name] = nn.Parameter(values, value.requires_grad) if is_parameter else values
    if isinstance(whole, (*BATCH_NORMS, *INSTANCE_NORMS)):
        whole.num_features = sum(len(places) for _, places in pieces)
    elif isinstance(whole, CONVOLUTIONS):
        whole.groups = len(whole.weight)  # depthwise; the first part's own count is 1 where it is one channel wide
    declare_width(whole)
    return whole


def own_tensor(module: nn.Module, name: str) -> Tensor | None:
    """A layer's weight or bias without its history; None where it has none."""
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
    for name, value in (("weight", weight), ("bias", bias)):
        old = module._parameters.get(name)
        if old is not None and value is not None and value is not old:
            new = value.detach().to(old.dtype).to(old.device).contiguous(memory_format=_memory_format(old))
            module._parameters[name] = nn.Parameter(new, old.requires_grad)
    declare_width(module)


def declare_width(module: nn.Module) -> None:
    """Makes a layer's width attributes say what its parameters are."""
    if isinstance(module, CONVOLUTIONS):
        first, second = module.weight.shape[:2]
        module.groups = first if module.groups > 1 else 1
        transposed = isinstance(module, TRANSPOSED)
        module.out_channels = second * module.groups if transposed else first
        module.in_channels = first if transposed else second * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]


def reset(module: nn.Module) -> None:
    """Draws a layer's parameters anew, by torch's own default for it."""
    with torch.no_grad():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear, *BATCH_NORMS)):
            module.reset_parameters()
        elif isinstance(module, nn.PReLU):
            module.weight.fill_(module.init)
