"""Layers at another width: copies with a selection of the channels, and new weights put in place."""

import copy

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def has_channel_parameters(module: nn.Module) -> bool:
    """Whether a channelwise layer holds values of each channel, so that a narrow copy differs from it."""
    if isinstance(module, nn.PReLU):
        return module.num_parameters > 1
    return isinstance(module, (*CONVOLUTIONS, *BATCH_NORMS))


def with_channels(module: nn.Module, channels: Tensor) -> nn.Module:
    """A copy of a channelwise layer that holds `channels` (k,) of its C channels: parameters and running statistics."""
    narrow = copy.deepcopy(module)
    if not has_channel_parameters(module):
        return narrow
    for name, parameter in narrow._parameters.items():
        if parameter is not None:
            narrow._parameters[name] = nn.Parameter(parameter.detach()[channels].clone(), parameter.requires_grad)
    for name, buffer in narrow._buffers.items():
        if buffer is not None and buffer.dim() == 1:
            narrow._buffers[name] = buffer[channels].clone()
    if isinstance(narrow, BATCH_NORMS):
        narrow.num_features = len(channels)
    declare_width(narrow)
    return narrow


def own_tensor(module: nn.Module, name: str) -> Tensor | None:
    """A layer's weight or bias without its history; None where it has none."""
    parameter = module._parameters.get(name)
    return None if parameter is None else parameter.detach()


def set_weight(module: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Puts a weight and a bias of another size in place; dtype, device and `requires_grad` stay the layer's own."""
    for name, value in (("weight", weight), ("bias", bias)):
        old = module._parameters.get(name)
        if old is not None and value is not None and value is not old:
            new = value.detach().to(old.dtype).to(old.device).contiguous()
            module._parameters[name] = nn.Parameter(new, old.requires_grad)
    declare_width(module)


def declare_width(module: nn.Module) -> None:
    """Makes a layer's width attributes say what its parameters are."""
    if isinstance(module, CONVOLUTIONS):
        out_channels, in_per_group = module.weight.shape[:2]
        module.groups = out_channels if module.groups > 1 else 1
        module.out_channels, module.in_channels = out_channels, in_per_group * module.groups
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
