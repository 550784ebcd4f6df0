"""A network with branches: its own layers, the narrow twins beside them, and one graph that runs both."""

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from ...errors import NetworkError
from ..channels.groups import Analysis, ChannelGroup
from ..layers.modes import set_modes
from ..layers.reparametrised import restore_untouched
from ..tracing.inputs import first_tensor, with_tensors
from .assembly import assemble, make_out_of_place
from .containers import LayersByPath, ParametersByPath
from .modules import BLENDINGS, Blend, Compress, CompressParts, Mixing
from .planning import Planning, touched

_UNPICKLED = ("graph", "trained", "evaluation", "_programs")
# Two threads may use a network for the first time at once.
_MAKING = threading.RLock()


@dataclass(frozen=True)
class Unmade:
    """Branches that are planned and not made: until someone looks at them, a selection of channels says it all.

    Attributes:
        planning: what will stand where.
        network: the original's layers.
        chosen: group → indices (k,) of the channels that stay; None for the first of each block.
        fill: gives the branches, once they are made, the weights that select these channels.
    """

    planning: Planning
    network: nn.Module
    chosen: Mapping[str, Tensor] | None = None
    fill: Callable[["BranchedNetwork"], None] | None = None


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
        unmade: what is planned of the branches; None as soon as they are made.
    """

    alphas: Tensor
    network: nn.Module
    mixing: Mixing
    compress: LayersByPath[Compress | CompressParts]
    narrow: LayersByPath[nn.Module]
    values: ParametersByPath
    blend: LayersByPath[Blend]
    graph: fx.Graph
    trained: fx.Graph
    evaluation: fx.Graph

    # No `fx.GraphModule`: it has one graph, where these are two; its deepcopy drops attributes that it does not know,
    # its pickle makes `x += y` an `x = x + y`. Here copies share the graphs, and unpickling assembles them again.

    # The branches are made when someone first looks at the network's modules: until then it has no `_modules`, and all
    # that torch does to a module starts with them. A network that is folded at once needs no P and E of its own.

    def __init__(self, planning: Planning, in_place: tuple[str, ...]) -> None:
        super().__init__()
        traced = planning.channels.traced
        self.example = few_examples(traced.inputs)
        self.groups: tuple[ChannelGroup, ...] = planning.analysis.groups
        self.plan, self.in_place = planning.plan, in_place
        like = next((p for p in traced.network.parameters() if p.is_floating_point()), torch.zeros(()))
        self.register_buffer("alphas", torch.ones(len(self.plan.widths), dtype=like.dtype, device=like.device))
        self._programs: dict[fx.Graph, Callable[..., Any]] = {}
        self.unmade: Unmade | None = Unmade(planning, traced.network)
        del self._modules

    @classmethod
    def at(cls, analysis: Analysis, widths: Mapping[str, int]) -> Self:
        """The network with branches that nothing is known of yet.

        Args:
            analysis: of the network, whose layers become those of what comes back, and stop working in place where a
                branch needs their input.
            widths: group → channels of its branch, fewer than the group has.
        """
        in_place = make_out_of_place(analysis)
        planning, network = Planning(analysis, widths), analysis.graph.traced.network
        restore_untouched(network, touched(planning.plan, network))
        return cls(planning, in_place)

    def select(self, chosen: Mapping[str, Tensor], fill: Callable[["BranchedNetwork"], None]) -> None:
        """Tells the channels that branches select, before they are made.

        Args:
            chosen: group → indices (k,) of its channels.
            fill: gives the branches the weights that select them, as soon as there are branches.
        """
        assert self.unmade is not None
        self.unmade = replace(self.unmade, chosen=chosen, fill=fill)

    @property
    def original(self) -> nn.Module:
        """The original's layers, without a look at the branches."""
        return self.network if self.unmade is None else self.unmade.network

    def follow_modes(self, modes: Mapping[str, bool], training: bool) -> None:
        """Puts the original's layers into the modes told, a narrow layer into its original's, the rest into one.

        So a frozen BatchNorm stays frozen.
        """
        set_modes(self.original, modes)
        self.training = training
        if self.unmade is None:
            self._follow_original()

    def _follow_original(self) -> None:
        for container in (self.mixing, self.compress, self.narrow, self.values, self.blend):
            for module in container.modules():
                module.training = self.training
        for path in self.plan.carriers:
            self.narrow.at(path).train(self.network.get_submodule(path).training)

    def __getattr__(self, name: str) -> Any:
        if self.__dict__.get("unmade") is None or name in self._buffers:
            return super().__getattr__(name)
        self._make()
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module):
            self._make()
        super().__setattr__(name, value)

    @torch.inference_mode(False)
    def _make(self) -> None:
        with _MAKING:
            if (unmade := self.unmade) is None:
                return
            self.unmade, self._modules = None, {}
            assembly = assemble(unmade.planning)
            restore_untouched(assembly.branches.narrow, {*assembly.branches.narrow.modules()})
            self.graph, self.trained, self.evaluation = assembly.graph, assembly.trained, assembly.evaluation
            self.network, self.mixing = unmade.network, Mixing()
            self.compress, self.narrow = assembly.branches.compress, assembly.branches.narrow
            self.blend, self.values = assembly.branches.blend, assembly.branches.values
            if unmade.fill is not None:
                unmade.fill(self)
            self._follow_original()

    def __getstate__(self) -> dict[str, Any]:
        """All but the graphs and the generated programs, which cannot be pickled."""
        self._make()
        return {key: value for key, value in self.__dict__.items() if key not in _UNPICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        analysis = Analysis.of(self.network, self.example, self.plan.in_groups)
        make_out_of_place(analysis)
        again = assemble(Planning(analysis, self.plan.widths))
        self.graph, self.trained, self.evaluation, self._programs = again.graph, again.trained, again.evaluation, {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._make()
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
        self._make()
        # The graph and the program know the network by name only: copies share them.
        memo.update({id(graph): graph for graph in (self.graph, self.trained, self.evaluation)})
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = {key: copy.deepcopy(value, memo) for key, value in self.__dict__.items()}
        return twin


def few_examples(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
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
