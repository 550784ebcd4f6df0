"""The graph that runs a network and its branches, built beside the original's."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm

from torch import Tensor, fx, nn

from ..channels.groups import Analysis
from ..channels.in_place import is_in_place_method
from ..channels.parameters import held_tensor, values_at
from ..channels.reuse import readers_by_tensor, take_constants
from ..layers.narrowing import own_tensor, with_channels
from ..tracing.graph import IN_PLACE_FUNCTIONS
from ..tracing.inputs import first_tensor
from ..tracing.mode_graphs import ModeGraph
from .blocks import new_matrix
from .calls import Kind, mark, stand_for
from .containers import LayersByPath, ParametersByPath, key_of
from .modules import Blend, Compress, CompressParts, joined, narrow_side
from .plan import Part, kept_places
from .planning import Planning, narrow_numbers


@dataclass(frozen=True)
class Branches:
    """What stands beside the original's layers, by their paths.

    Attributes:
        compress: writer's path → P.
        narrow: channelwise layer's path → its narrow copy.
        values: path of a parameter or buffer with values for each channel → its narrow copy.
        blend: name of a blend in the plan → E, and the blending.
    """

    compress: LayersByPath[Compress | CompressParts] = field(default_factory=LayersByPath)
    narrow: LayersByPath[nn.Module] = field(default_factory=LayersByPath)
    values: ParametersByPath = field(default_factory=ParametersByPath)
    blend: LayersByPath[Blend] = field(default_factory=LayersByPath)


@dataclass(frozen=True)
class Assembly:
    """What a branched network is made of, beside the original itself.

    Attributes:
        branches: the modules; P, E and the narrow copies hold nothing of use yet.
        graph: what either mode runs; its nodes tell by `branch_call` what they do for a branch. It calls the original's
            layers as "network.…", the branches by their container's name, and reads "alphas" and "mixing".
        trained: what training runs of it: the same graph, unless evaluation runs something else.
        evaluation: what evaluation runs of it, likewise.
    """

    branches: Branches
    graph: fx.Graph
    trained: fx.Graph
    evaluation: fx.Graph


def assemble(planning: Planning) -> Assembly:
    """Branches beside the groups to narrow, and the graphs that run both; the original works `out_of_place`."""
    builder = _Builder(planning)
    graph = builder.build()
    traced = planning.channels.traced
    trained, evaluation = map(builder.of_mode, (traced.training, traced.evaluation))
    return Assembly(builder.branches, graph, trained, evaluation)


def make_out_of_place(analysis: Analysis) -> tuple[str, ...]:
    """Turns off `inplace` where the branches need the tensor as it was; the paths, for folding to restore."""
    graph, changed = analysis.graph, []
    for node in graph.nodes:
        carries = graph.roles.get(node) == "carry" or node in graph.derived
        if node.op == "call_module" and graph.is_in_place(node) and carries:
            layer = graph.traced.module(node)
            if str(node.target) not in graph.aliased_modules:
                layer.inplace = False  # type: ignore[assignment]
                changed.append(str(node.target))
    return tuple(changed)


class _Builder:
    """One walk through the original's graph: each node once on the wide side, and where it must on the narrow one."""

    def __init__(self, planning: Planning) -> None:
        self.planning, self.plan, self.channels = planning, planning.plan, planning.channels
        self.known = {**{group.name: group.width for group in planning.analysis.groups}, **planning.widths}
        self.positions = {name: i for i, name in enumerate(planning.widths)}
        self.reading = readers_by_tensor(self.channels)
        self.graph, self.branches = fx.Graph(), Branches()
        self.wide: dict[fx.Node, fx.Node] = {}
        self.thin: dict[fx.Node, fx.Node] = {}
        self.blended: dict[fx.Node, fx.Node] = {}
        self.joined: dict[fx.Node, fx.Node] = {}
        self.alphas: fx.Node | None = None

    def build(self) -> fx.Graph:
        """The graph of both modes."""
        for node in self.channels.nodes:
            self._add(node)
        wide = {*self.wide.values(), *self.joined.values()}
        self.graph.eliminate_dead_code(is_impure_node=lambda node: node in wide or node.op in ("placeholder", "output"))
        return self.graph

    def of_mode(self, mode: ModeGraph | None) -> fx.Graph:
        """The graph of one mode: the whole, unless it gives something else."""
        if mode is None:
            return self.graph
        graph = fx.Graph()
        env: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node.op != "output":
                env[node] = graph.node_copy(node, env.__getitem__)
        graph.output(fx.map_arg(mode.result, lambda node: env[self.joined.get(node, self.wide[node])]))
        runs = {env[self.wide[node]] for node in mode.nodes}
        graph.eliminate_dead_code(is_impure_node=lambda node: node in runs or node.op in ("placeholder", "output"))
        return graph

    def _add(self, node: fx.Node) -> None:
        if node.op != "placeholder" and self.alphas is None:
            self.alphas = self._mixed()
        if node.op == "output":
            self._join_results()
        blended = self.planning.blended.get(node)
        wide = self.graph.node_copy(node, lambda n: self._blend(n) if n is blended else self._heard(n, node))
        if node.op in ("call_module", "get_attr"):
            wide.target = _own(node)
        if self.channels.is_in_place(node) and not self.channels.is_aliased(node):
            _write_out_of_place(wide)
        self.wide[node] = stand_for(wide, node)
        kind = self.planning.kinds.get(node)
        if kind is Kind.COMPRESS:
            self.thin[node] = self._compress(node)
        elif node in self.planning.counting:
            self.thin[node] = self._count(node)
        elif kind is not None:
            self.thin[node] = self._carry(node, kind)
        elif node in self.planning.beside:
            args = (wide, self._carry(node, self.planning.beside[node]))
            self.wide[node] = mark(self.graph.call_function(narrow_side, args), Kind.JOIN, node.name)

    def _count(self, node: fx.Node) -> fx.Node:
        thin = self.graph.node_copy(node, lambda n: self.thin.get(n) or self.wide[n])
        self._narrow_numbers(thin)
        return mark(thin, Kind.SHARED, str(node.target))

    def _mixed(self) -> fx.Node:
        inputs = zip(self.wide.values(), self.channels.traced.inputs, strict=False)
        first, held = next((node, value) for node, value in inputs if first_tensor(value) is not None)
        while not isinstance(held, Tensor):  # the tensor lies in a dict, list or tuple
            items = held.items() if isinstance(held, Mapping) else enumerate(held)
            key, held = next((key, item) for key, item in items if first_tensor(item) is not None)
            first = self.graph.call_function(operator.getitem, (first, key))
        return self.graph.call_module("mixing", (self.graph.get_attr("alphas"), first))

    def _heard(self, source: fx.Node, node: fx.Node) -> fx.Node:
        """What the wide side of `node` reads of a source: one value of both sides, where it is of another group's."""
        return self._join(source) if self.planning.leaves(source, node) else self.wide[source]

    def _within(self, source: fx.Node, node: fx.Node) -> fx.Node:
        """What the narrow side of `node` reads of a source."""
        return self._join(source) if self.planning.leaves(source, node) else self.thin.get(source) or self.wide[source]

    def _join(self, source: fx.Node) -> fx.Node:
        if source not in self.joined:
            position = self.positions[self.planning.homes[source]]
            args = (self.wide[source], self.thin[source], self.alphas, position)
            self.joined[source] = mark(self.graph.call_function(joined, args), Kind.JOIN, source.name)
        return self.joined[source]

    def _join_results(self) -> None:
        """The values without channels that either mode yields."""
        for mode in (self.channels.traced.training, self.channels.traced.evaluation):
            if mode is not None:
                fx.map_arg(mode.result, lambda node: self._join(node) if node in self.planning.homes else node)

    def _call(self, kind: Kind, path: str, args: Sequence[fx.Node | None]) -> fx.Node:
        return mark(self.graph.call_module(_target(kind, path), tuple(args)), kind, path)

    def _compress(self, node: fx.Node) -> fx.Node:
        path = str(node.target)
        if not self.branches.compress.holds(path):
            layer, dim, parts = (
                self.channels.traced.module(node),
                self.channels.layouts[node].dim,
                self.plan.writers[path],
            )
            blocks = self.channels.blocks_beside(node, node)
            mixing = {i: _new_compress(layer, part, blocks[i], dim) for i, part in enumerate(parts) if part.branched}
            sizes = [part.width * part.span for part in parts]
            self.branches.compress.put(path, mixing[0] if len(parts) == 1 else CompressParts(mixing, sizes, dim))
        return self._call(Kind.COMPRESS, path, (self.wide[node],))

    def _carry(self, node: fx.Node, kind: Kind) -> fx.Node:
        thin = self.graph.node_copy(node, lambda n: self._within(n, node))
        self._narrow_numbers(thin)
        if self.channels.is_in_place(node):
            _write_out_of_place(thin)
        path = str(node.target)
        self._hold(path, kind)
        if node.op in ("call_module", "get_attr"):
            thin.target = _own(node) if kind is Kind.SHARED else _target(kind, path)
        return mark(thin, kind, path)

    def _narrow_numbers(self, node: fx.Node) -> None:
        """Gives numbers that follow from widths, through the network's attributes, their value on the narrow side."""
        narrow_numbers(node, self.plan, self.known)

    def _hold(self, path: str, kind: Kind) -> None:
        """Puts what carries the narrow channels on among the branches, if it is new."""
        network = self.channels.traced.network
        if kind is Kind.VALUES and not self.branches.values.holds(path):
            held = held_tensor(network, path)
            assert held is not None
            places = kept_places(self.plan.values[path])
            self.branches.values.put(path, values_at(held, self.plan.value_dims[path], places))
        elif kind is Kind.NARROW and not self.branches.narrow.holds(path):
            layer = self.channels.traced.modules[path]
            self.branches.narrow.put(path, with_channels(layer, kept_places(self.plan.carriers[path])))

    def _blend(self, source: fx.Node) -> fx.Node:
        if source not in self.blended:
            name = self.planning.alike[source].name
            if not self.branches.blend.holds(name):
                blocks = self._blocks(source)
                self.branches.blend.put(name, self._new_blend(source, self.plan.blends[name], blocks))
            self.blended[source] = self._call(Kind.BLEND, name, (self.wide[source], self.thin[source], self.alphas))
        return self.blended[source]

    def _blocks(self, source: fx.Node) -> list[int]:
        """Of each segment the blocks that E leaves to themselves: those of all that read a tensor with this E."""
        readers = self.reading[self.planning.alike[source]]
        counts = [self.channels.blocks_beside(reader, reader.all_input_nodes[0]) for reader in readers]
        return [lcm(*each) for each in zip(*counts, strict=True)]

    def _new_blend(self, source: fx.Node, parts: tuple[Part, ...], blocks: Sequence[int]) -> Blend:
        like = next(self.channels.traced.network.parameters())
        expand = [new_matrix(like, part.width, part.kept, count) for part, count in zip(parts, blocks, strict=True)]
        return Blend(
            sizes=[(part.width * part.span, part.kept * part.span) for part in parts],
            spans=[part.span for part in parts],
            alphas=[self.positions[str(part.group)] if part.branched else None for part in parts],
            expand=[E if part.branched else None for part, E in zip(parts, expand, strict=True)],
            dim=self.channels.layouts[source].dim,
            shifted=take_constants(self.channels, self.reading[self.planning.alike[source]]),
        )


def _new_compress(layer: nn.Module, part: Part, blocks: int, dim: int) -> Compress:
    weight = own_tensor(layer, "weight")
    assert weight is not None
    P = new_matrix(weight, part.kept, part.width, blocks)
    bias = None if own_tensor(layer, "bias") is None else P.new_zeros(part.kept * part.span)
    return Compress(P, bias, dim, part.span)


def _own(node: fx.Node) -> str:
    """The name by which a branched network knows the original's own layer or tensor."""
    return f"{Kind.SHARED.value}.{node.target}"


def _target(kind: Kind, path: str) -> str:
    return f"{kind.value}.{key_of(path)}"


def _write_out_of_place(node: fx.Node) -> None:
    name = str(node.target)
    if node.op == "call_method" and is_in_place_method(name) and hasattr(Tensor, name[:-1]):  # unlike `normal_`
        node.target = name[:-1]
    elif node.target in IN_PLACE_FUNCTIONS:
        node.target = IN_PLACE_FUNCTIONS[node.target]
    if "inplace" in node.kwargs:
        node.kwargs = {**node.kwargs, "inplace": False}
