"""What training costs: the fair currency between recipes, which spend it on wide or on narrow networks.

A training step counts as three forward passes (one forward, and a backward pass of twice its MACs: the gradients of the
activations and of the weights). Fitting branches, folding and validation are not counted.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from ...models.cost import count_macs
from ...models.examples import placed

FORWARD_PASSES = 3


@dataclass
class Meter:
    """Counts a trial's compute in epochs of the baseline's training.

    Attributes:
        unit: MACs of one epoch of the baseline's training.
        inputs: of the forward, of two examples.
        spent: so far.
    """

    unit: float
    inputs: tuple[Any, ...]
    spent: float = 0.0

    @staticmethod
    def of(examples: int, macs: int, inputs: tuple[Any, ...]) -> "Meter":
        """A meter of a study with so many training examples and a baseline of so many MACs."""
        return Meter(float(FORWARD_PASSES) * examples * macs, inputs)

    def macs(self, network: nn.Module) -> int:
        """MACs of one example's forward pass."""
        return count_macs(network, placed(self.inputs, network))

    def spend(self, macs: float, examples: int) -> None:
        """Adds one step.

        Args:
            macs: of the forward passes that gradients flow through, a third of those that none does.
            examples: in the step's batch.
        """
        self.spent += FORWARD_PASSES * macs * examples / self.unit


@dataclass
class Length:
    """How long a trial trains: so many steps or, with `compute`, until its meter has counted that.

    Attributes:
        meter: of the trial.
        steps: in all; 0 with `compute`.
        compute: what may be spent, in epochs of the baseline's training.
        taken: steps so far.
    """

    meter: Meter
    steps: int = 0
    compute: float | None = None
    taken: int = 0

    @property
    def progress(self) -> float:
        """The share of the trial that is done, in [0, 1]."""
        if self.compute is not None:
            return min(1.0, self.meter.spent / self.compute)
        return self.taken / self.steps

    def step(self, macs: float, examples: int) -> None:
        """Counts one step; `macs` and `examples` as in `Meter.spend`."""
        self.meter.spend(macs, examples)
        self.taken += 1
