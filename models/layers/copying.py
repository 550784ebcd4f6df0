"""Deep copies of networks: quick for torch's own layers, without what is replaced anyway or is left of a forward."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from ...errors import NetworkError, one_line

_Module = TypeVar("_Module", bound=nn.Module)

_ATOMS = (bool, int, float, str, type(None))


def deep_copy(network: _Module, instead: Mapping[Tensor | nn.Module, Tensor | nn.Module] | None = None) -> _Module:
    """What `copy.deepcopy` gives, but for what stands `instead` of some of its tensors and layers.

    Results of an earlier forward that a module holds, which deepcopy refuses, are copied without their history.

    Args:
        network: any module.
        instead: tensor or layer of `network` → what the copy holds in its place; itself, if the caller replaces it.

    Raises:
        NetworkError: if a part of the network cannot be copied.
    """
    memo: dict[int, Any] = {id(original): other for original, other in (instead or {}).items()}
    memo |= {id(result): result.detach().clone() for module in network.modules() for result in _results(module)}
    try:
        for module in reversed(list(network.modules())):  # children before their parents
            if id(module) not in memo and _is_plain(type(module)):
                _copy_plain(module, memo)
        return copy.deepcopy(network, memo)
    except (RuntimeError, TypeError) as error:
        raise NetworkError(f"{type(network).__name__} cannot be copied: {one_line(error):.200}") from error


def _results(module: nn.Module) -> Iterator[Tensor]:
    """Tensors with a history that a module keeps as attributes, or in their lists and dicts."""
    for value in module.__dict__.values():
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        yield from (x for x in held if isinstance(x, Tensor) and not x.is_leaf)


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether a layer is one of torch's own that `copy.deepcopy` copies attribute by attribute."""
    own = kind.__module__.startswith("torch.nn.modules.")
    return own and kind.__getstate__ is nn.Module.__getstate__ and not hasattr(kind, "__deepcopy__")


def _copy_plain(module: nn.Module, memo: dict[int, Any]) -> None:
    twin = memo[id(module)] = object.__new__(type(module))
    for name, value in module.__getstate__().items():  # without what `module.compile()` made of the original
        if type(value) in _ATOMS or (type(value) is tuple and all(type(item) in _ATOMS for item in value)):
            twin.__dict__[name] = value
        elif isinstance(value, dict | set) and not value:
            twin.__dict__[name] = value.copy()
        else:
            twin.__dict__[name] = copy.deepcopy(value, memo)
