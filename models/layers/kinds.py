"""What is known of each kind of layer: which axes of its weight are channels, and what else tells of its width.

A new kind is one entry in `KINDS`, beside its rule in `channels/rules`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from .patching import own_names


@dataclass(frozen=True)
class LayerKind:
    """One kind of layer.

    Attributes:
        classes: torch's classes of this kind.
        names: qualified names of classes in libraries that are not imported for them.
        outputs: axis of the weight that holds the output channels.
        inputs: axis of the weight that holds the input channels; None for a layer that never mixes channels.
        per_channel: parameters and buffers that hold a value or kernel for each channel, along axis 0, where the layer
            treats each channel on its own.
        sizes: attribute → axis of the weight whose size it repeats. Axis 1 counts the channels of one group where the
            layer has `groups`.
        shape: attribute that holds the shape of what is normalised, channels first; without one, they lie in dimension
            1 of the input.
        at_inputs: whether its kernel is applied at every position of the input, not of the output.
        apart: attribute that is the number of channels where each is treated alone, else a number that stays.
        shared_at_one: attribute that is 1 where one value serves all channels.
        reading: weights that read the input, (rows, in) each, of a layer that has several and whose own width stays.
    """

    classes: tuple[type[nn.Module], ...]
    names: tuple[str, ...] = ()
    outputs: int = 0
    inputs: int | None = None
    per_channel: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    shape: str = ""
    at_inputs: bool = False
    apart: str = ""
    shared_at_one: str = ""
    reading: tuple[str, ...] = ()


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_STATISTICS = ("weight", "bias", "running_mean", "running_var")

CONVOLUTION = LayerKind(
    CONVOLUTIONS[:3],
    inputs=1,
    per_channel=("weight", "bias"),
    sizes={"out_channels": 0, "in_channels": 1},
)
TRANSPOSED_CONVOLUTION = LayerKind(
    CONVOLUTIONS[3:],
    outputs=1,
    inputs=0,
    per_channel=("weight", "bias"),
    sizes={"in_channels": 0, "out_channels": 1},
    at_inputs=True,
)
LINEAR = LayerKind((nn.Linear, NonDynamicallyQuantizableLinear), inputs=1, sizes={"out_features": 0, "in_features": 1})
BATCH_NORM = LayerKind(
    (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    per_channel=_STATISTICS,
    sizes={"num_features": 0},
)
INSTANCE_NORM = LayerKind(
    (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), per_channel=_STATISTICS, sizes={"num_features": 0}
)
LAYER_NORM = LayerKind((nn.LayerNorm, nn.RMSNorm), per_channel=("weight", "bias"), shape="normalized_shape")
GROUP_NORM = LayerKind((nn.GroupNorm,), per_channel=("weight", "bias"), sizes={"num_channels": 0}, apart="num_groups")
PRELU = LayerKind((nn.PReLU,), per_channel=("weight",), sizes={"num_parameters": 0}, shared_at_one="num_parameters")
# By name, because importing torchvision takes a second: a BatchNorm of detection networks, all of it buffers.
FROZEN_BATCH_NORM = LayerKind((), names=("torchvision.ops.misc.FrozenBatchNorm2d",), per_channel=_STATISTICS)
# The state's width stays; backwards there is a second weight.
RECURRENT = LayerKind(
    (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell),
    inputs=1,
    sizes={"input_size": 1},
    reading=("weight_ih_l0", "weight_ih_l0_reverse", "weight_ih"),
)

KINDS = (
    CONVOLUTION,
    TRANSPOSED_CONVOLUTION,
    LINEAR,
    BATCH_NORM,
    INSTANCE_NORM,
    LAYER_NORM,
    GROUP_NORM,
    PRELU,
    FROZEN_BATCH_NORM,
    RECURRENT,
)

_BY_CLASS = {cls: kind for kind in KINDS for cls in kind.classes}
_BY_NAME = {name: kind for kind in KINDS for name in kind.names}

# What a subclass may define anew and still compute what its parent does.
_HARMLESS = {"__init__", "reset_parameters", "reset_running_stats", "extra_repr", "__repr__", "train", "eval"}
_HARMLESS |= {"__module__", "__doc__", "__annotations__", "__dict__", "__weakref__", "__constants__", "_version"}
_HARMLESS |= {"__parameters__", "__orig_bases__", "__firstlineno__", "__static_attributes__", "__annotate__"}


def kind_of(module: nn.Module) -> LayerKind | None:
    """The kind of a layer, None if nothing is known of it; a subclass that keeps torch's forward is of its parent's."""
    return kind_of_class(behaves_as(module))


def kind_of_class(cls: type[nn.Module]) -> LayerKind | None:
    """The kind of one of these classes, None if nothing is known of it."""
    return _BY_CLASS.get(cls) or _BY_NAME.get(qualified_name(cls))


def behaves_as(module: nn.Module) -> type[nn.Module]:
    """The class whose forward a layer runs: the parent in torch that a subclass leaves as it is, else its own class.

    `nn.Module`, of which nothing is known, where the forward was replaced on the layer alone.
    """
    computes = "parametrizations" in module._modules
    own: type[nn.Module] = parametrize.type_before_parametrizations(module) if computes else type(module)
    if "forward" in module.__dict__:
        return nn.Module
    return _parent(own)


def is_known_whole(module: nn.Module) -> bool:
    """Whether a layer of another class than torch's is to be taken whole, as the parent whose forward it keeps."""
    cls = behaves_as(module)
    if qualified_name(cls) in _BY_NAME:
        return True
    inherited = cls.__module__.startswith("torch.nn.") and cls not in (type(module), nn.Module)
    return inherited and not issubclass(cls, nn.Sequential)


def _parent(own: type[nn.Module]) -> type[nn.Module]:
    if own.__module__.startswith("torch.nn."):
        return own
    for i, cls in enumerate(own.__mro__):
        if cls is nn.Module:
            break
        if cls.__module__.startswith("torch.nn.") or qualified_name(cls) in _BY_NAME:
            # What the parent defines takes part in its forward, as `_conv_forward` does, unless it is known not to.
            said = {name for parent in cls.__mro__[:-1] for name in own_names(parent)}
            anew = {name for child in own.__mro__[:i] for name in own_names(child)}
            return own if (anew & said) - _HARMLESS else cls
    return own


def qualified_name(target: Callable[..., Any]) -> str:
    """Module and name of a function or class."""
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', '')}"


def has_channel_parameters(module: nn.Module) -> bool:
    """Whether a channelwise layer holds values of each channel, so that a narrow copy differs from it."""
    kind = kind_of(module)
    if kind is None or (kind.shared_at_one and getattr(module, kind.shared_at_one) == 1):
        return False
    return bool(kind.per_channel)


def has_values_along(module: nn.Module, dim: int, rank: int) -> bool:
    """Whether a layer holds values of each channel where dimension `dim` of its input's `rank` holds the channels.

    Else it treats the positions of every channel alike.
    """
    kind = kind_of(module)
    if kind is None or not has_channel_parameters(module):
        return False
    return dim == (rank - len(getattr(module, kind.shape)) if kind.shape else 1)


def channel_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a channelwise layer that hold something for each of its C channels, (C, *)."""
    kind = kind_of(module)
    held = {**module._parameters, **module._buffers}
    return {name: x for name in (kind.per_channel if kind else ()) if (x := held.get(name)) is not None}


def weight_names(module: nn.Module) -> tuple[str, ...]:
    """The names of the weights by which a layer reads its input, below each other in one matrix where there are two."""
    kind = kind_of(module)
    reading = kind.reading if kind else ()
    return tuple(name for name in reading if name in module._parameters) or ("weight",)


def by_output(module: nn.Module, weight: Tensor) -> Tensor:
    """A weight with its first two axes as (out, inputs of each, *kernel); applied twice, the weight itself."""
    kind = kind_of(module)
    if kind is None or kind.outputs == 0:
        return weight
    groups = getattr(module, "groups", 1)
    return weight.transpose(0, 1) if groups == 1 else weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def kernel_size(module: nn.Module) -> int:
    """Multiplications at each position for each pair of an output channel and an input channel that it reads."""
    weight = getattr(module, "weight", None)
    return prod(weight.shape[2:]) if isinstance(weight, Tensor) else 0


def passes_constants(module: nn.Module) -> bool:
    """Whether a constant added to a channel of what a layer with weights reads is one for its bias to add instead."""
    kind = kind_of(module)
    if kind is None or kind.inputs is None or kind.at_inputs or module._parameters.get("bias") is None:
        return False
    padding, mode = getattr(module, "padding", 0), getattr(module, "padding_mode", "zeros")
    if padding == "same":
        return mode != "zeros" or kernel_size(module) == 1
    return mode != "zeros" or padding == "valid" or not any(padding if isinstance(padding, tuple) else (padding,))


def declare_width(module: nn.Module, channels: int | None = None) -> None:
    """Makes a layer's attributes say what its parameters are.

    Args:
        module: the layer.
        channels: how many it yields of such that it treats each on its own; None for a layer that mixes them.
    """
    kind = kind_of(module)
    if channels is not None and "groups" in module.__dict__:
        module.groups = channels * module.groups // module.out_channels  # type: ignore[assignment, operator]
    if channels is not None and kind is not None and kind.apart:
        held = getattr(module, kind.apart)
        setattr(module, kind.apart, channels if held == getattr(module, next(iter(kind.sizes))) > 1 else held)
    for attribute, axis in kind.sizes.items() if kind else ():
        if channels is not None and not hasattr(module, "groups"):
            setattr(module, attribute, channels)
        elif isinstance(weight := module._parameters.get(weight_names(module)[0]), Tensor):
            setattr(module, attribute, weight.shape[axis] * (getattr(module, "groups", 1) if axis == 1 else 1))
    if channels is not None and kind is not None and kind.shape:
        setattr(module, kind.shape, (channels, *getattr(module, kind.shape)[1:]))
