"""A network with branches: its own layers, the narrow twins beside them, and one graph that runs both."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from ..errors import NetworkError
from .branches import Blend, Compress
from .channels import is_in_place_method
from .groups import Analysis, ChannelGroup
from .narrowing import has_channel_parameters, own_tensor, with_channels
from .tracing import IN_PLACE_FUNCTIONS


@dataclass(frozen=True)
class Part:
    """One segment of a tensor's channel dimension, in plain values.

    Attributes:
        group: name of its group, None if no layer writes it.
        width: channels at full width.
        kept: channels on the narrow side; `width` for a group without a branch.
        span: places that each channel takes.
    """

    group: str | None
    width: int
    kept: int
    span: int

    @property
    def branched(self) -> bool:
        """Whether the group has a branch."""
        return self.kept < self.width


@dataclass(frozen=True)
class Plan:
    """Where the branches are; everything is named by module path or by blend.

    Attributes:
        widths: group → channels kept, for the groups with a branch; the order is that of the vector α.
        writers: module path → group that its output belongs to, for writers with a compress.
        carriers: module path → parts of the channels that it treats, for channelwise layers with a narrow copy.
        readers: module path → name of the blend it reads.
        blends: name → parts of the tensor that is blended.
    """

    widths: dict[str, int]
    writers: dict[str, str]
    carriers: dict[str, tuple[Part, ...]]
    readers: dict[str, str]
    blends: dict[str, tuple[Part, ...]]


class BranchedNetwork(nn.Module):
    """The network at α between 1 (only the original is heard) and 0 (only the branches).

    Attributes:
        network: the original layers.
        example: the forward's arguments for two examples.
        compress: writer's path with "/" for "." → P.
        narrow: channelwise layer's path, likewise → its narrow copy.
        blend: blended tensor's name → E, and the blending.
        graph: what training runs.
        evaluation: what evaluation runs; mostly the same graph.
        alphas: (G,) α of each group with a branch.
        groups: all channel groups of the original.
        plan: where the branches are.
    """

    alphas: Tensor

    def __init__(self, analysis: Analysis, widths: Mapping[str, int]) -> None:
        super().__init__()
        traced = analysis.graph.traced
        self.network = traced.network
        self.example = _few_examples(traced.inputs)
        self.groups: tuple[ChannelGroup, ...] = analysis.groups
        self.in_place = _make_out_of_place(analysis)
        self.compress, self.narrow, self.blend = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        like = next((p for p in self.network.parameters() if p.is_floating_point()), torch.zeros(()))
        self.register_buffer("alphas", torch.ones(len(widths), dtype=like.dtype, device=like.device))
        self.plan = Plan(
            {group.name: widths[group.name] for group in self.groups if group.name in widths}, {}, {}, {}, {}
        )
        assembly = _Assembly(self, analysis)
        self.graph, self.evaluation = assembly.graph, assembly.evaluation()
        self._programs: dict[fx.Graph, Callable[..., Any]] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        graph = self.graph if self.training else self.evaluation
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
            if not 0 <= value <= 1:
                raise NetworkError(f"alpha must be between 0 and 1, but got alpha={value} for group {name!r}")
            self.alphas[positions[name]] = value

    @property
    def alpha(self) -> dict[str, float]:
        """α of each group with a branch."""
        return dict(zip(self.plan.widths, self.alphas.tolist(), strict=True))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Dtype and device: the example goes along."""
        self.example = tuple(fn(x) if isinstance(x, Tensor) else x for x in self.example)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> "BranchedNetwork":
        # The graph and the program know the network by name only: copies share them.
        memo.update({id(graph): graph for graph in (self.graph, self.evaluation)})
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = {key: copy.deepcopy(value, memo) for key, value in self.__dict__.items()}
        return twin


def _few_examples(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """As few examples as BatchNorm can train on, enough to trace what partial folding leaves.

    Tensors of another length than the first are taken to have no batch dimension.
    """
    size = len(inputs[0])

    def few(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return (x[:2] if x.dim() > 0 and len(x) == size else x).detach().clone()

    return tuple(map(few, inputs))


def _compiled(graph: fx.Graph) -> Callable[..., Any]:
    code = graph.python_code("self")
    exec(code.src, code.globals)  # the program text is torch.fx's own
    forward: Callable[..., Any] = code.globals["forward"]
    return forward


def key_of(path: str) -> str:
    """A module path as one name: torch forbids dots in the names of a ModuleDict."""
    return path.replace(".", "/")


class _Assembly:
    """Builds the branched graph beside the original's; records what it made in the network's plan."""

    def __init__(self, branched: BranchedNetwork, analysis: Analysis) -> None:
        self.branched, self.analysis, self.channels = branched, analysis, analysis.graph
        self.graph = fx.Graph()
        self.wide: dict[fx.Node, fx.Node] = {}
        self.thin: dict[fx.Node, fx.Node] = {}
        self.blended: dict[fx.Node, fx.Node] = {}
        self.alphas: fx.Node | None = None
        self.positions = {name: i for i, name in enumerate(branched.plan.widths)}
        for node in self.channels.traced.graph.nodes:
            self._add(node)
        wide = {*self.wide.values()}
        self.graph.eliminate_dead_code(is_impure_node=lambda node: node in wide or node.op in ("placeholder", "output"))

    def evaluation(self) -> fx.Graph:
        """The graph of evaluation: that of training, unless it gives something else."""
        output = self.channels.traced.evaluation
        if output is None:
            return self.graph
        graph = fx.Graph()
        env: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node.op != "output":
                env[node] = graph.node_copy(node, env.__getitem__)
        graph.output(fx.map_arg(output, lambda node: env[self.wide[node]]))
        graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
        return graph

    def _add(self, node: fx.Node) -> None:
        if node.op != "placeholder" and self.alphas is None:
            self.alphas = self.graph.get_attr("alphas")
        role = self.channels.roles.get(node)
        source = node.args[0] if node.args else None
        reads = role == "write" and isinstance(source, fx.Node) and source in self.thin
        wide = self.graph.node_copy(node, lambda n: self._blend(n) if reads and n is source else self.wide[n])
        wide.meta["original"] = node
        if node.op in ("call_module", "get_attr"):
            wide.target = f"network.{node.target}"
        if self.channels.is_in_place(node) and not self.channels.is_aliased(node):
            _write_out_of_place(wide)
        self.wide[node] = wide
        if reads:
            assert isinstance(source, fx.Node)
            self.branched.plan.readers[str(node.target)] = source.name
        parts = self._parts(node)
        if any(part.branched for part in parts):
            self.thin[node] = self._compress(node, parts) if role == "write" else self._carry(node, parts)

    def _parts(self, node: fx.Node) -> tuple[Part, ...]:
        layout = self.channels.layouts.get(node)
        if layout is None:
            return ()
        widths = self.branched.plan.widths
        names = self.analysis.segment_groups(layout)
        return tuple(
            Part(name, segment.channels.width, widths.get(name or "", segment.channels.width), segment.span)
            for name, segment in zip(names, layout.segments, strict=True)
        )

    def _compress(self, node: fx.Node, parts: tuple[Part, ...]) -> fx.Node:
        path, part = str(node.target), parts[0]
        assert part.group is not None
        layer = self.channels.traced.module(node)
        weight = own_tensor(layer, "weight")
        assert weight is not None
        P = weight.new_zeros(part.kept, part.width)
        bias = None if own_tensor(layer, "bias") is None else P.new_zeros(part.kept)
        self.branched.compress[key_of(path)] = Compress(P, bias, self.channels.layouts[node].dim)
        self.branched.plan.writers[path] = part.group
        return self.graph.call_module(f"compress.{key_of(path)}", (self.wide[node],))

    def _carry(self, node: fx.Node, parts: tuple[Part, ...]) -> fx.Node:
        thin = self.graph.node_copy(node, lambda n: self.thin.get(n) or self.wide[n])
        if self.channels.is_in_place(node):
            _write_out_of_place(thin)
        if node.op == "call_module":
            path, layer = str(node.target), self.channels.traced.module(node)
            thin.target = f"network.{path}"
            if next(layer.parameters(), None) is not None or has_channel_parameters(layer):
                self.branched.narrow[key_of(path)] = with_channels(layer, kept_places(parts))
                self.branched.plan.carriers[path] = parts
                thin.target = f"narrow.{key_of(path)}"
        elif node.op == "get_attr":
            thin.target = f"network.{node.target}"
        return thin

    def _blend(self, source: fx.Node) -> fx.Node:
        if source not in self.blended:
            parts = self._parts(source)
            like = next(self.branched.network.parameters())
            blend = Blend(
                sizes=[(part.width * part.span, part.kept * part.span) for part in parts],
                spans=[part.span for part in parts],
                alphas=[self.positions[str(part.group)] if part.branched else None for part in parts],
                expand=[like.new_zeros(part.width, part.kept) if part.branched else None for part in parts],
                dim=self.channels.layouts[source].dim,
            )
            self.branched.blend[source.name] = blend
            self.branched.plan.blends[source.name] = parts
            self.blended[source] = self.graph.call_module(
                f"blend.{source.name}", (self.wide[source], self.thin[source], self.alphas)
            )
            self.blended[source].meta["original"] = source
        return self.blended[source]


def kept_places(parts: tuple[Part, ...], chosen: Mapping[str, Tensor] | None = None) -> Tensor:
    """Which places of a tensor's channel dimension stay: of each group the first channels, or those `chosen`."""
    places, start = [], 0
    for part in parts:
        channels = torch.arange(part.kept)
        if chosen is not None and part.branched:
            channels = chosen[str(part.group)].cpu()
        places.append(start + (channels[:, None] * part.span + torch.arange(part.span)).flatten())
        start += part.width * part.span
    return torch.cat(places)


def _write_out_of_place(node: fx.Node) -> None:
    if node.op == "call_method" and is_in_place_method(str(node.target)):
        node.target = str(node.target)[:-1]
    elif node.target in IN_PLACE_FUNCTIONS:
        node.target = IN_PLACE_FUNCTIONS[node.target]
    if "inplace" in node.kwargs:
        node.kwargs = {**node.kwargs, "inplace": False}


def _make_out_of_place(analysis: Analysis) -> list[str]:
    """Turns off `inplace` where the branches need the tensor as it was; the paths, for folding to restore."""
    graph, changed = analysis.graph, []
    for node in graph.traced.graph.nodes:
        if node.op == "call_module" and graph.is_in_place(node) and graph.roles.get(node) == "carry":
            layer = graph.traced.module(node)
            if str(node.target) not in graph.aliased_modules:
                layer.inplace = False  # type: ignore[assignment]
                changed.append(str(node.target))
    return changed
