"""What goes into an exported file: the network, what it is called with, and the description that each format holds."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ....errors import DataError, NetworkError
from ....models.checkpoints import NetworkDescription, parse_description
from ....models.examples import arguments, first_of
from ....models.fusing import fused
from ....models.tracing.inputs import tensors_of
from ..options import AS_IT_IS, Options


@dataclass(frozen=True)
class Package:
    """A network that is to become a file.

    Attributes:
        network: folded, in evaluation mode on the CPU.
        description: of it.
        raw: real examples (N, C, H, W) as the data set has them, uint8; of other data what the network takes.
        inputs: the same examples as the network takes them.
        options: for graph formats.
        card: the model card, in Markdown.
    """

    network: nn.Module
    description: NetworkDescription
    raw: Any
    inputs: Any
    options: Options = AS_IT_IS
    card: str = ""

    @cached_property
    def program(self) -> nn.Module:
        """What a graph format holds: the network, changed as the options say.

        Raises:
            DataError: if it is to normalise and its description does not tell how.
            NetworkError: if it cannot be fused.
        """
        network = fused(self.network, first_of(self.inputs, 2)) if self.options.fuse else self.network
        if not self.options.with_normalisation:
            return network
        mean, std = normalisation(self.description)
        if not mean:
            raise DataError("the network takes its inputs as its data set gives them: there is nothing to normalise")
        return Normalised(network, mean, std, next(self.network.parameters()).dtype).eval()

    @property
    def program_inputs(self) -> tuple[Any, ...]:
        """The examples as the program takes them: its arguments."""
        return arguments(self.raw if self.options.with_normalisation else self.inputs)


class Normalised(nn.Module):
    """A network behind the normalisation of its images: x · 1 / (255 σ) − μ / σ, as the data loader has it.

    Args:
        network: takes normalised images (N, C, H, W).
        mean: of each channel of images scaled to [0, 1].
        std: likewise.
        dtype: that the network computes in.
    """

    def __init__(self, network: nn.Module, mean: list[float], std: list[float], dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype
        self.scale = nn.Buffer(torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1))
        self.offset = nn.Buffer(torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Any:
        """What the network gives for images (N, C, H, W) of uint8."""
        return self.network((images.float() * self.scale + self.offset).to(self.dtype))


# A loaded file: takes what the network takes, gives the tensors of what it gives.
Run = Callable[..., tuple[Tensor, ...]]


class Content(NamedTuple):
    """What a file tells of itself, before any of it is run.

    Attributes:
        description: of the network.
        options: that it was changed with.
    """

    description: NetworkDescription
    options: Options

    def to_json(self) -> str:
        """The text that `parse_content` reads."""
        return json.dumps({"network": asdict(self.description), "options": asdict(self.options)})


def parse_content(text: str | None, path: Path) -> Content:
    """What a format found under its key.

    Raises:
        NetworkError: if that is nothing, or damaged.
    """
    if text is None:
        raise NetworkError(
            f"{path} holds no description of its network; only files that branchfold wrote can be evaluated"
        )
    try:
        told = json.loads(text)
        network, options = told["network"], Options(**told["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"the description in {path} is damaged: {error}") from error
    return Content(parse_description(network, path), options)


def normalisation(description: NetworkDescription) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel that the network's images were normalised with.

    Raises:
        DataError: if they are missing or damaged.
    """
    data = description.data
    if not isinstance(data, dict) or not {"name", "mean", "std"} <= data.keys():
        raise DataError("the checkpoint does not say which data it was trained on")
    whole = all(isinstance(data[key], list) and all(isinstance(x, float) for x in data[key]) for key in ("mean", "std"))
    if not whole or 0.0 in data["std"]:
        raise DataError(f"the checkpoint's mean and std are damaged: {data['mean']!r:.40}, {data['std']!r:.40}")
    return data["mean"], data["std"]


def runs(network: nn.Module) -> Run:
    """A module as what a loaded file is."""

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return tuple(tensors_of(network(*inputs)))

    return run
