"""The graph that runs a network and its branches, built beside the original's."""

from typing import TYPE_CHECKING

from torch import Tensor, fx

from ..channels.graph import is_in_place_method
from ..channels.groups import Analysis
from ..channels.parameters import narrowed
from ..channels.reuse import blended_alike
from ..layers.narrowing import has_channel_parameters, own_tensor, with_channels
from ..tracing.graph import IN_PLACE_FUNCTIONS
from .modules import Blend, Compress
from .plan import Part, kept_places, key_of

if TYPE_CHECKING:
    from .network import BranchedNetwork


class Assembly:
    """Builds the branched graph beside the original's; records what it made in the network's plan."""

    def __init__(self, branched: "BranchedNetwork", analysis: Analysis) -> None:
        self.branched, self.analysis, self.channels = branched, analysis, analysis.graph
        self.graph = fx.Graph()
        self.wide: dict[fx.Node, fx.Node] = {}
        self.thin: dict[fx.Node, fx.Node] = {}
        self.blended: dict[fx.Node, fx.Node] = {}
        self.alphas: fx.Node | None = None
        self.positions = {name: i for i, name in enumerate(branched.plan.widths)}
        self.alike = blended_alike(self.channels)
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
            self.alphas = self._mixed()
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
            self.branched.plan.readers[str(node.target)] = key_of(self.alike[source].name)
        parts = self._parts(node)
        if any(part.branched for part in parts):
            self.thin[node] = self._compress(node, parts) if role == "write" else self._carry(node, parts)

    def _mixed(self) -> fx.Node:
        inputs = zip(self.wide.values(), self.channels.traced.inputs, strict=False)
        first = next(node for node, value in inputs if isinstance(value, Tensor))
        return self.graph.call_module("mixing", (self.graph.get_attr("alphas"), first))

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
        if path not in self.branched.plan.writers:
            self._add_compress(node, path, part)
        return self.graph.call_module(f"compress.{key_of(path)}", (self.wide[node],))

    def _add_compress(self, node: fx.Node, path: str, part: Part) -> None:
        assert part.group is not None
        layer = self.channels.traced.module(node)
        weight = own_tensor(layer, "weight")
        assert weight is not None
        P = weight.new_zeros(part.kept, part.width)
        bias = None if own_tensor(layer, "bias") is None else P.new_zeros(part.kept)
        self.branched.compress[key_of(path)] = Compress(P, bias, self.channels.layouts[node].dim)
        self.branched.plan.writers[path] = part.group

    def _carry(self, node: fx.Node, parts: tuple[Part, ...]) -> fx.Node:
        thin = self.graph.node_copy(node, lambda n: self.thin.get(n) or self.wide[n])
        if self.channels.is_in_place(node):
            _write_out_of_place(thin)
        if node.op == "call_module":
            path, layer = str(node.target), self.channels.traced.module(node)
            thin.target = f"network.{path}"
            # A value for all channels alike that several groups may use stays one: the layer's own.
            alone = next(layer.parameters(), None) is not None and self.channels.calls(node) == 1
            if alone or has_channel_parameters(layer):
                if path not in self.branched.plan.carriers:
                    self.branched.narrow[key_of(path)] = with_channels(layer, kept_places(parts))
                    self.branched.plan.carriers[path] = parts
                thin.target = f"narrow.{key_of(path)}"
        elif node.op == "get_attr":
            path, key = str(node.target), key_of(str(node.target))
            self.branched.values[key] = narrowed(self.branched.network.get_parameter(path), kept_places(parts))
            self.branched.plan.values[path] = parts[0]
            thin.target = f"values.{key}"
        return thin

    def _blend(self, source: fx.Node) -> fx.Node:
        if source not in self.blended:
            name = key_of(self.alike[source].name)
            if name not in self.branched.plan.blends:
                self._add_blend(source, name)
            self.blended[source] = self.graph.call_module(
                f"blend.{name}", (self.wide[source], self.thin[source], self.alphas)
            )
            self.blended[source].meta["original"] = source
        return self.blended[source]

    def _add_blend(self, source: fx.Node, name: str) -> None:
        parts = self._parts(source)
        like = next(self.branched.network.parameters())
        self.branched.blend[name] = Blend(
            sizes=[(part.width * part.span, part.kept * part.span) for part in parts],
            spans=[part.span for part in parts],
            alphas=[self.positions[str(part.group)] if part.branched else None for part in parts],
            expand=[like.new_zeros(part.width, part.kept) if part.branched else None for part in parts],
            dim=self.channels.layouts[source].dim,
        )
        self.branched.plan.blends[name] = parts


def _write_out_of_place(node: fx.Node) -> None:
    if node.op == "call_method" and is_in_place_method(str(node.target)):
        node.target = str(node.target)[:-1]
    elif node.target in IN_PLACE_FUNCTIONS:
        node.target = IN_PLACE_FUNCTIONS[node.target]
    if "inplace" in node.kwargs:
        node.kwargs = {**node.kwargs, "inplace": False}
