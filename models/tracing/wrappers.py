"""Networks that are wrapped in something else: told which attribute holds the network itself."""

from typing import Any

import torch
from torch import fx, nn
from torch.optim.swa_utils import AveragedModel

from ...errors import NetworkError


def require_plain(network: Any) -> None:
    """Lets a plain network pass.

    Raises:
        NetworkError: if it is none, is wrapped, is compiled code, or has layers without a size.
    """
    if isinstance(network, torch.export.ExportedProgram):
        raise NetworkError("model is an exported program, whose layers are gone; give the network that was exported")
    if not isinstance(network, nn.Module):
        raise NetworkError(f"model must be a network, but got {network!r:.80}")
    kind = type(network).__name__
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
        raise NetworkError(f"model is a network wrapped in {kind}; give its attribute `.module`")
    if isinstance(network, fx.GraphModule) and "train" in network.__dict__:  # which torch.export put there
        raise NetworkError("model is an exported program's module, without layers; give the network that was exported")
    if type(network).__module__.startswith("torch._dynamo."):
        raise NetworkError("model is a network that torch.compile wrapped; give its attribute `._orig_mod`")
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            name = f"{path} is" if path else "model is"
            raise NetworkError(f"{name} a ScriptModule, whose code cannot be followed; give the module it was made of")
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if nn.parameter.is_lazy(tensor):
                raise NetworkError(
                    f"{path or kind} has no size yet ({name} of a {type(module).__name__}); call the network once"
                )
