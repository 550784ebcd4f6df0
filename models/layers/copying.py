"""Deep copies of networks: quick for usual modules, without what is replaced anyway or is left of a forward."""

import copy
import copyreg
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from ...errors import NetworkError, one_line

_Module = TypeVar("_Module", bound=nn.Module)

_ATOMS: frozenset[type] = frozenset((bool, int, float, str, type(None)))
_CONTAINERS: frozenset[type] = frozenset((dict, OrderedDict, set, list, tuple))
# What every module has of its own; other containers may be shared, or know each other.
_OF_MODULES = frozenset(name for name, value in vars(nn.Module()).items() if type(value) in _CONTAINERS)
_HOLDING = frozenset(("_parameters", "_buffers", "_modules"))


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
    modules = list(network.modules())
    plain = {kind for kind in {type(module) for module in modules} if _is_plain(kind)}
    memo |= {id(result): result.detach().clone() for module in modules for result in _results(module)}
    try:
        for module in reversed(modules):  # children before their parents
            if id(module) not in memo and type(module) in plain and "__deepcopy__" not in module.__dict__:
                _copy_plain(module, memo)
        return copy.deepcopy(network, memo)
    except (RuntimeError, TypeError) as error:
        raise NetworkError(f"{type(network).__name__} cannot be copied: {one_line(error):.200}") from error


def _results(module: nn.Module) -> list[Tensor]:
    """Tensors with a history that a module keeps as attributes, or in their lists and dicts."""
    found: list[Tensor] = []
    for value in module.__dict__.values():
        if type(value) in _ATOMS or (type(value) in _CONTAINERS and not value):
            continue
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        found += [x for x in held if isinstance(x, Tensor) and not x.is_leaf]
    return found


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether `copy.deepcopy` copies modules of this class attribute by attribute, as `nn.Module` says."""
    if hasattr(kind, "__deepcopy__") or kind.__getstate__ is not nn.Module.__getstate__:
        return False
    if kind.__module__.startswith("torch.nn.modules."):
        return True
    said = ("__setstate__", "__getattr__", "__new__", "__reduce__", "__reduce_ex__")
    as_usual = all(getattr(kind, name) is getattr(nn.Module, name) for name in said)
    asked = hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__") or kind in copyreg.dispatch_table
    return as_usual and not asked


def _copy_plain(module: nn.Module, memo: dict[int, Any]) -> None:
    twin = memo[id(module)] = object.__new__(type(module))
    mine, held = twin.__dict__, module.__dict__
    for name, value in held.items():
        kind = type(value)
        if kind in _ATOMS or (kind is tuple and all(type(item) in _ATOMS for item in value)):
            mine[name] = value
        elif name in _OF_MODULES and kind in _CONTAINERS and not value:
            mine[name] = value.copy()
        elif name in _HOLDING and kind is dict and id(value) not in memo:
            copies = mine[name] = memo[id(value)] = {}
            for key, item in value.items():
                copies[key] = memo[id(item)] if id(item) in memo else copy.deepcopy(item, memo)
        else:
            mine[name] = copy.deepcopy(value, memo)
    mine.pop("_compiled_call_impl", None)  # what `module.compile()` made of the original
