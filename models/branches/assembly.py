"""The graph that runs a network and its branches, built beside the original's."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Any

from torch import Tensor, fx, nn

from ..channels.derived import reads_value, yields_tensors
from ..channels.graph import READS
from ..channels.groups import Analysis
from ..channels.in_place import is_in_place_method
from ..channels.parameters import held_tensor, values_at
from ..channels.reuse import blended_alike, readers_by_tensor, take_constants
from ..layers.kinds import has_channel_parameters, has_values_along
from ..layers.narrowing import own_tensor, with_channels
from ..tracing.graph import IN_PLACE_FUNCTIONS, shape_of
from ..tracing.inputs import first_tensor
from ..tracing.mode_graphs import ModeGraph
from ..tracing.recording.attributes import AttributeNumber
from .blocks import new_matrix
from .calls import Kind, mark
from .containers import LayersByPath, ParametersByPath, key_of
from .modules import Blend, Compress, CompressParts, joined, narrow_side
from .plan import Part, Plan, WidthForm, kept_places


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
        plan: where the branches are.
        branches: the modules; P, E and the narrow copies hold nothing of use yet.
        graph: what either mode runs; its nodes tell by `branch_call` what they do for a branch. It calls the original's
            layers as "network.…", the branches by their container's name, and reads "alphas" and "mixing".
        trained: what training runs of it: the same graph, unless evaluation runs something else.
        evaluation: what evaluation runs of it, likewise.
        in_place: paths of layers that worked in place before the branches needed their input.
    """

    plan: Plan
    branches: Branches
    graph: fx.Graph
    trained: fx.Graph
    evaluation: fx.Graph
    in_place: tuple[str, ...]


def assemble(analysis: Analysis, widths: Mapping[str, int]) -> Assembly:
    """Branches beside the groups to narrow, and the graphs that run both.

    Args:
        analysis: of the original, whose layers stop working in place where a branch needs their input.
        widths: group → channels of its branch.
    """
    in_place = _make_out_of_place(analysis)
    ordered = {group.name: widths[group.name] for group in analysis.groups if group.name in widths}
    builder = _Builder(analysis, ordered)
    graph = builder.build()
    trained, evaluation = map(builder.of_mode, (analysis.graph.traced.training, analysis.graph.traced.evaluation))
    return Assembly(builder.plan(), builder.branches, graph, trained, evaluation, in_place)


def _make_out_of_place(analysis: Analysis) -> tuple[str, ...]:
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

    def __init__(self, analysis: Analysis, widths: dict[str, int]) -> None:
        self.analysis, self.channels, self.widths = analysis, analysis.graph, widths
        self.known = {**{group.name: group.width for group in analysis.groups}, **widths}
        self.attributes = {
            attribute: WidthForm(*analysis.form_by_group(form)) for attribute, form in self.channels.attributes.items()
        }
        self.positions = {name: i for i, name in enumerate(widths)}
        self.alike, self.reading = blended_alike(self.channels), readers_by_tensor(self.channels)
        self.graph, self.branches = fx.Graph(), Branches()
        self.wide: dict[fx.Node, fx.Node] = {}
        self.thin: dict[fx.Node, fx.Node] = {}
        self.blended: dict[fx.Node, fx.Node] = {}
        self.homes: dict[fx.Node, str] = {}
        self.joined: dict[fx.Node, fx.Node] = {}
        self.alphas: fx.Node | None = None
        # What the plan will say.
        self.writers: dict[str, tuple[Part, ...]] = {}
        self.carriers: dict[str, tuple[Part, ...]] = {}
        self.values: dict[str, tuple[Part, ...]] = {}
        self.readers: dict[str, str] = {}
        self.blends: dict[str, tuple[Part, ...]] = {}

    def build(self) -> fx.Graph:
        """The graph of both modes."""
        for node in self.channels.nodes:
            self._add(node)
        wide = {*self.wide.values(), *self.joined.values()}
        self.graph.eliminate_dead_code(is_impure_node=lambda node: node in wide or node.op in ("placeholder", "output"))
        return self.graph

    def plan(self) -> Plan:
        """Where the branches are."""
        dims = {path: self.channels.held[path].dim for path in self.values}
        return Plan(
            self.widths,
            self.writers,
            self.carriers,
            self.values,
            dims,
            self.readers,
            self.blends,
            self.attributes,
            frozenset(self.channels.in_groups),
        )

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
        role = self.channels.roles.get(node)
        source = node.args[0] if node.args else None
        reads = role in READS and isinstance(source, fx.Node) and source in self.alike and source in self.thin
        blended = source if reads and isinstance(source, fx.Node) else None
        if node.op == "output":
            self._join_results()
        wide = self.graph.node_copy(node, lambda n: self._blend(n) if n is blended else self._heard(n, node))
        if node.op in ("call_module", "get_attr"):
            wide.target = _own(node)
        if self.channels.is_in_place(node) and not self.channels.is_aliased(node):
            _write_out_of_place(wide)
        self.wide[node] = wide
        if blended is not None:
            self.readers[str(node.target)] = self.alike[blended].name
        parts = self._parts(node)
        if any(part.branched for part in parts):
            self.thin[node] = self._compress(node, parts) if role == "write" else self._carry(node, parts)
        elif (home := self._home(node)) is not None:
            self.homes[node] = home
            self.thin[node] = self._carry(node, ())
        elif role == "carry" and any(map(self._is_beside, node.all_input_nodes)):
            args = (wide, self._carry(node, ()))
            self.wide[node] = mark(self.graph.call_function(narrow_side, args), Kind.JOIN, node.name)
        elif self._counts_widths(node):
            thin = self.graph.node_copy(node, lambda n: self.thin.get(n) or self.wide[n])
            self._narrow_numbers(thin)
            self.thin[node] = mark(thin, Kind.SHARED, str(node.target))

    def _is_beside(self, source: fx.Node) -> bool:
        """Whether a tensor holds channels of a branch; beside them, the narrow side alone has the layers that stay."""
        return source in self.thin and any(part.branched for part in self._parts(source))

    def _mixed(self) -> fx.Node:
        inputs = zip(self.wide.values(), self.channels.traced.inputs, strict=False)
        first, held = next((node, value) for node, value in inputs if first_tensor(value) is not None)
        while not isinstance(held, Tensor):  # the tensor lies in a dict, list or tuple
            items = held.items() if isinstance(held, Mapping) else enumerate(held)
            key, held = next((key, item) for key, item in items if first_tensor(item) is not None)
            first = self.graph.call_function(operator.getitem, (first, key))
        return self.graph.call_module("mixing", (self.graph.get_attr("alphas"), first))

    def _home(self, node: fx.Node) -> str | None:
        """The group in whose branch alone a node works, if it has one; there, values without channels are its own."""
        if self.channels.roles.get(node) in READS:
            return None
        if node in self.channels.derived:
            named = self.analysis.derived_from(node) & self.widths.keys()
        else:  # with channels beside those of the group it would tell these what only the branch knows
            layouts = self.channels.layouts_of(node)
            named = {str(name) for layout in layouts for name in self.analysis.segment_groups(layout)}
        name = named.pop() if len(named) == 1 else None
        return name if name in self.widths else None

    def _heard(self, source: fx.Node, node: fx.Node) -> fx.Node:
        """What the wide side of `node` reads of a source: one value of both sides, where it is of another group's."""
        return self._join(source) if self._leaves(source, node) else self.wide[source]

    def _within(self, source: fx.Node, node: fx.Node) -> fx.Node:
        """What the narrow side of `node` reads of a source."""
        return self._join(source) if self._leaves(source, node) else self.thin.get(source) or self.wide[source]

    def _leaves(self, source: fx.Node, node: fx.Node) -> bool:
        home = self.homes.get(source)
        if not yields_tensors(source) and (node, source) not in self.channels.weighed:
            return False
        return home is not None and self._home(node) != home and reads_value(node, self.channels)

    def _join(self, source: fx.Node) -> fx.Node:
        if source not in self.joined:
            position = self.positions[self.homes[source]]
            args = (self.wide[source], self.thin[source], self.alphas, position)
            self.joined[source] = mark(self.graph.call_function(joined, args), Kind.JOIN, source.name)
        return self.joined[source]

    def _join_results(self) -> None:
        """The values without channels that either mode yields."""
        for mode in (self.channels.traced.training, self.channels.traced.evaluation):
            if mode is not None:
                fx.map_arg(mode.result, lambda node: self._join(node) if node in self.homes else node)

    def _parts(self, node: fx.Node) -> tuple[Part, ...]:
        return tuple(
            Part(
                name,
                segment.channels.width,
                self.widths.get(name or "", segment.channels.width),
                segment.span,
                segment.channels.blocks,
            )
            for layout in self.channels.layouts_of(node)
            for name, segment in zip(self.analysis.segment_groups(layout), layout.segments, strict=True)
        )

    def _counts_widths(self, node: fx.Node) -> bool:
        """Whether a node yields numbers that follow from the widths of narrow tensors."""
        yields = node in self.channels.numbers or node in self.channels.sizes
        return yields and any(source in self.thin for source in node.all_input_nodes)

    def _call(self, kind: Kind, path: str, args: Sequence[fx.Node | None]) -> fx.Node:
        return mark(self.graph.call_module(_target(kind, path), tuple(args)), kind, path)

    def _compress(self, node: fx.Node, parts: tuple[Part, ...]) -> fx.Node:
        path = str(node.target)
        if path not in self.writers:
            layer, dim = self.channels.traced.module(node), self.channels.layouts[node].dim
            blocks = self.channels.blocks_beside(node, node)
            mixing = {i: _new_compress(layer, part, blocks[i], dim) for i, part in enumerate(parts) if part.branched}
            sizes = [part.width * part.span for part in parts]
            self.branches.compress.put(path, mixing[0] if len(parts) == 1 else CompressParts(mixing, sizes, dim))
            self.writers[path] = parts
        return self._call(Kind.COMPRESS, path, (self.wide[node],))

    def _carry(self, node: fx.Node, parts: tuple[Part, ...]) -> fx.Node:
        thin = self.graph.node_copy(node, lambda n: self._within(n, node))
        self._narrow_numbers(thin)
        if self.channels.is_in_place(node):
            _write_out_of_place(thin)
        kind, path = self._carried_by(node, parts), str(node.target)
        if node.op in ("call_module", "get_attr"):
            thin.target = _own(node) if kind is Kind.SHARED else _target(kind, path)
        return mark(thin, kind, path)

    def _narrow_numbers(self, node: fx.Node) -> None:
        """Gives numbers that follow from widths, through the network's attributes, their value on the narrow side."""

        def narrow(value: Any) -> Any:
            if not isinstance(value, AttributeNumber) or not any(a in self.attributes for a in value.terms):
                return value
            forms = {a: self.attributes[a].at(self.known) if a in self.attributes else a.value for a in value.terms}
            return int(sum((factor * forms[a] for a, factor in value.terms.items()), value.constant))

        node.args = fx.node.map_aggregate(node.args, narrow)
        node.kwargs = fx.node.map_aggregate(node.kwargs, narrow)

    def _carried_by(self, node: fx.Node, parts: tuple[Part, ...]) -> Kind:
        """What carries the narrow channels on, put among the branches if it is new."""
        path = str(node.target)
        if node.op == "get_attr":
            if path not in self.values:
                held, dim = held_tensor(self.channels.traced.network, path), self.channels.held[path].dim
                assert held is not None
                self.branches.values.put(path, values_at(held, dim, kept_places(parts)))
                self.values[path] = parts
            return Kind.VALUES
        if node.op != "call_module" or not parts:
            return Kind.SHARED
        layer = self.channels.traced.module(node)
        at_channels = has_values_along(layer, self.channels.layouts[node].dim, len(shape_of(node) or ()))
        if has_channel_parameters(layer) and not at_channels:
            return Kind.SHARED  # it slides along the channels, or normalises over the positions of each
        # A value for all channels alike that several groups may use stays one: the layer's own.
        alone = next(layer.parameters(), None) is not None and self.channels.calls(node) == 1
        if not alone and not at_channels:
            return Kind.SHARED
        if path not in self.carriers:
            self.branches.narrow.put(path, with_channels(layer, kept_places(parts)))
            self.carriers[path] = parts
        return Kind.NARROW

    def _blend(self, source: fx.Node) -> fx.Node:
        if source not in self.blended:
            name = self.alike[source].name
            if name not in self.blends:
                self.blends[name] = self._parts(source)
                self.branches.blend.put(name, self._new_blend(source, self.blends[name], self._blocks(source)))
            self.blended[source] = self._call(Kind.BLEND, name, (self.wide[source], self.thin[source], self.alphas))
        return self.blended[source]

    def _blocks(self, source: fx.Node) -> list[int]:
        """Of each segment the blocks that E leaves to themselves: those of all that read a tensor with this E."""
        readers = self.reading[self.alike[source]]
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
            shifted=take_constants(self.channels, self.reading[self.alike[source]]),
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
