"""Every fold of a trial is proved: the folded network is compared with the branched one at α = 0."""

import copy
import math
from collections.abc import Collection
from typing import Any

from torch import nn

from ...errors import NetworkError
from ...models.branches.folding.folding import fold
from ...models.branches.network import BranchedNetwork
from ...models.examples import placed
from ...models.layers.modes import evaluating
from ...models.tracing.inputs import copied, tensors_of, with_tensors

# Folded and branched at α = 0 differ by rounding alone, in float64.
FOLDING_TOLERANCE = 1e-9
# On so many examples they are compared.
_COMPARED = 32


class FoldCheck:
    """Folds groups, and compares with the branched network at their α = 0 on real inputs, in float64.

    Attributes:
        error: the largest relative difference so far.

    Args:
        inputs: the forward's arguments for some examples.
    """

    def __init__(self, inputs: tuple[Any, ...]) -> None:
        self.inputs, self.error = with_tensors(inputs, lambda x: x[:_COMPARED]), 0.0

    def __call__(self, branched: BranchedNetwork, groups: Collection[str]) -> nn.Module:
        branched.set_alpha(dict.fromkeys(groups, 0.0))
        exact = copy.deepcopy(branched).double()
        inputs = placed(self.inputs, exact)
        with evaluating(exact):
            expected, actual = exact(*copied(inputs)), fold(exact, groups).eval()(*copied(inputs))
        error = _difference(actual, expected)
        if all(bool(y.isfinite().all()) for y in tensors_of(expected)):  # else the next report ends the trial
            if not error <= FOLDING_TOLERANCE:
                raise NetworkError(
                    f"the folded network differs from the branched one by {error:.1e} of its outputs, more than "
                    f"{FOLDING_TOLERANCE}: a fault of branchfold's, please report it with the network"
                )
            self.error = max(self.error, error)
        return fold(branched, groups)


def _difference(actual: Any, expected: Any) -> float:
    """The largest difference of an output, relative to that output's largest value, if that is not 0."""
    pairs = zip(tensors_of(actual), tensors_of(expected), strict=True)
    errors = [float((a - b).abs().max()) / (float(b.abs().max()) or 1.0) for a, b in pairs if b.is_floating_point()]
    return math.nan if any(math.isnan(error) for error in errors) else max(errors, default=0.0)
