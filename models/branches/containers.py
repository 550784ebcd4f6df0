"""Branches by the path of the layer that they stand beside, as modules whose parameters a network finds."""

from typing import Generic, TypeVar, cast

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


class LayersByPath(nn.ModuleDict, Generic[Layer]):
    """Layers of one type; in names of parameters and modules "/" stands for the path's "."."""

    def holds(self, path: str) -> bool:
        """Whether a layer stands beside the one at `path`."""
        return key_of(path) in self

    def at(self, path: str) -> Layer:
        """The layer that stands beside the one at `path`."""
        return cast(Layer, self[key_of(path)])

    def put(self, path: str, layer: Layer) -> None:
        """Makes `layer` the one that stands beside the one at `path`."""
        self[key_of(path)] = layer


class ParametersByPath(nn.ParameterDict):
    """Parameters, named likewise."""

    def holds(self, path: str) -> bool:
        """Whether a parameter stands beside the one at `path`."""
        return key_of(path) in self

    def at(self, path: str) -> nn.Parameter:
        """The parameter that stands beside the one at `path`."""
        return cast(nn.Parameter, self[key_of(path)])

    def put(self, path: str, parameter: nn.Parameter) -> None:
        """Makes `parameter` the one that stands beside the one at `path`."""
        self[key_of(path)] = parameter


def key_of(path: str) -> str:
    """A module path as a key of the containers, which forbid dots and the names of their own methods."""
    key = path.replace(".", "/")
    return f"{key}/" if hasattr(LayersByPath, key) or hasattr(ParametersByPath, key) else key
