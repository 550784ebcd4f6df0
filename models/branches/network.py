"""A network with branches: its own layers, the narrow twins beside them, and one graph that runs both."""

import copy
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from ...errors import NetworkError
from ..channels.groups import Analysis, ChannelGroup
from ..layers.reparametrised import restore_untouched
from ..tracing.inputs import first_tensor, with_tensors
from .assembly import Assembly, assemble
from .modules import BLENDINGS, Mixing

_UNPICKLED = ("graph", "trained", "evaluation", "_programs")


class BranchedNetwork(nn.Module):
    """The network at α between 1 (only the original is heard) and 0 (only the branches).

    Attributes:
        network: the original layers.
        example: the forward's arguments for two examples.
        compress: writer's path → P.
        narrow: channelwise layer's path → its narrow copy.
        values: path of a parameter or buffer with values for each channel → its narrow copy.
        blend: name of a blend in the plan → E, and the blending.
        graph: what either mode runs.
        trained: what training runs of it; mostly the whole graph.
        evaluation: what evaluation runs of it; mostly the whole graph.
        mixing: what each example hears while the network trains.
        alphas: (G,) α of each group with a branch.
        groups: all channel groups of the original.
        plan: where the branches are.
        in_place: paths of layers that folding makes work in place again.
    """

    alphas: Tensor

    # No `fx.GraphModule`: it has one graph, where these are two; its deepcopy drops attributes that it does not know,
    # its pickle makes `x += y` an `x = x + y`. Here copies share the graphs, and unpickling assembles them again.

    def __init__(self, analysis: Analysis, assembly: Assembly) -> None:
        super().__init__()
        traced = analysis.graph.traced
        self.network = traced.network
        self.example = _few_examples(traced.inputs)
        self.groups: tuple[ChannelGroup, ...] = analysis.groups
        self.plan, self.in_place = assembly.plan, assembly.in_place
        self.graph, self.trained, self.evaluation = assembly.graph, assembly.trained, assembly.evaluation
        self.compress, self.narrow = assembly.branches.compress, assembly.branches.narrow
        self.blend, self.values = assembly.branches.blend, assembly.branches.values
        like = next((p for p in self.network.parameters() if p.is_floating_point()), torch.zeros(()))
        self.mixing = Mixing()
        self.register_buffer("alphas", torch.ones(len(self.plan.widths), dtype=like.dtype, device=like.device))
        self._programs: dict[fx.Graph, Callable[..., Any]] = {}

    @classmethod
    def at(cls, analysis: Analysis, widths: Mapping[str, int]) -> Self:
        """The network with branches that nothing is known of yet.

        Args:
            analysis: of the network, whose layers become those of what comes back.
            widths: group → channels of its branch, fewer than the group has.
        """
        assembly = assemble(analysis, widths)
        network, plan = analysis.graph.traced.network, assembly.plan
        layers = {network.get_submodule(path) for path in (*plan.writers, *plan.readers, *plan.carriers)}
        restore_untouched(network, layers)
        restore_untouched(assembly.branches.narrow, {*assembly.branches.narrow.modules()})
        return cls(analysis, assembly)

    def __getstate__(self) -> dict[str, Any]:
        """All but the graphs and the generated programs, which cannot be pickled."""
        return {key: value for key, value in self.__dict__.items() if key not in _UNPICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        again = assemble(Analysis.of(self.network, self.example, self.plan.in_groups), self.plan.widths)
        self.graph, self.trained, self.evaluation, self._programs = again.graph, again.trained, again.evaluation, {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        graph = self.trained if self.training else self.evaluation
        if graph not in self._programs:
            self._programs[graph] = _compiled(graph)
        return self._programs[graph](self, *args, **kwargs)

    def set_alpha(self, alpha: float | Mapping[str, float]) -> None:
        """Sets α in [0, 1] of all branches, or of the groups named.

        Raises:
            NetworkError: if α is out of range or a group has no branch.
        """
        positions = {name: i for i, name in enumerate(self.plan.widths)}
        for name, value in alpha.items() if isinstance(alpha, Mapping) else dict.fromkeys(positions, alpha).items():
            if name not in positions:
                known = ", ".join(positions) or "none"
                raise NetworkError(f"group {name!r} has no branch; there are branches for {known}")
            if not isinstance(value, Real) or not 0 <= value <= 1:
                raise NetworkError(f"alpha must be between 0 and 1, but got alpha={value!r} for group {name!r}")
            self.alphas[positions[name]] = value

    def set_blending(self, mode: str) -> None:
        """Sets what training blends with: "convex" (α itself), "probability" or "uniform" (see `Mixing`).

        Raises:
            NetworkError: if the mode is unknown.
        """
        if mode not in BLENDINGS:
            raise NetworkError(f"blending must be one of {', '.join(BLENDINGS)}, but got {mode!r}")
        self.mixing.mode = mode

    @property
    def alpha(self) -> dict[str, float]:
        """α of each group with a branch."""
        return dict(zip(self.plan.widths, self.alphas.tolist(), strict=True))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Dtype and device: the example goes along."""
        self.example = tuple(with_tensors(x, fn) for x in self.example)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> "BranchedNetwork":
        # The graph and the program know the network by name only: copies share them.
        memo.update({id(graph): graph for graph in (self.graph, self.trained, self.evaluation)})
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = {key: copy.deepcopy(value, memo) for key, value in self.__dict__.items()}
        return twin


def _few_examples(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """As few examples as BatchNorm can train on, enough to trace what partial folding leaves.

    Tensors of another length than the first are taken to have no batch dimension.
    """
    first = first_tensor(inputs)
    assert first is not None
    size = len(first)

    def few(x: Tensor) -> Tensor:
        return (x[:2] if x.dim() > 0 and len(x) == size else x).detach().clone()

    return tuple(with_tensors(x, few) for x in inputs)


def _compiled(graph: fx.Graph) -> Callable[..., Any]:
    code = graph.python_code("self")
    exec(code.src, code.globals)  # the program text is torch.fx's own
    forward: Callable[..., Any] = code.globals["forward"]
    return forward
