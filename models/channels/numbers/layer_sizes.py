"""Sizes of layers and of their tensors that the code reads: numbers that follow from widths."""

from torch import nn

from ...layers.kinds import channel_tensors, kind_of
from ...tracing.plain.classes import names_of
from ...tracing.recording.attributes import Attribute
from ..layouts import Layout
from .forms import Form


def size_of(attribute: Attribute, layer: nn.Module, written: Layout, read: Layout | None) -> Form | None:
    """What a size of a layer's is, None where it follows from no width.

    Args:
        attribute: such as `out_channels`, or `weight.shape` at an axis, by the names that the user's code has.
        layer: as torch's class.
        written: the channels that it writes, or treats each on its own.
        read: the channels that it reads, if it mixes them.
    """
    kind = kind_of(layer)
    tensor, _, shape = attribute.name.rpartition(".")
    if kind is None:
        return None
    if shape != "shape":
        if read is None:
            first_of_shape = attribute.name == kind.shape and attribute.index == 0
            told = attribute.name in {*kind.sizes, "groups"} or first_of_shape
            return Form.of_layout(written) if told else None
        axis = kind.sizes.get(attribute.name)
    else:
        roles = {name: role for role, name in names_of(layer).items()}
        role, axis = roles.get(tensor, tensor), attribute.index
        if read is None or role != "weight":
            holds = axis == 0 and (role in channel_tensors(layer) if read is None else role == "bias")
            return Form.of_layout(written) if holds else None
    if axis is None or axis not in (kind.outputs, kind.inputs):
        return None
    form = Form.of_layout(written if axis == kind.outputs else read)
    groups, rest = divmod(form.value(), attribute.value)  # a weight has an axis for the channels of one group
    return None if rest else form.over(groups)
