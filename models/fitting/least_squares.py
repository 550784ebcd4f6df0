"""Fitting the branches to data, group after group, each on what the groups before it deliver."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..branches.blocks import block_count, dense, like_blocks
from ..branches.calls import BranchCall, Kind, blends, branch_call, is_fitted
from ..branches.modules import compress_of
from ..branches.network import BranchedNetwork
from ..branches.plan import kept_places
from ..channels.groups import Analysis
from ..channels.reuse import readers_by_tensor
from ..layers.kinds import BATCH_NORM, channel_tensors, kind_of
from ..layers.modes import evaluating
from ..layers.narrowing import with_channels
from ..tracing.inputs import copied
from .activations import input_batches
from .choice import choose_channels
from .estimates import expansion, mean, moments, selector, variance_of_few
from .order import fitting_order
from .readers import mean_is_free
from .subset import by_channel
from .unfitted import select_values

_RIDGE = 1e-4


def initialise_from_data(
    branched: BranchedNetwork,
    analysis: Analysis,
    data: Tensor | Iterable[Any],
    *,
    choice: str = "greedy",
    ridge: float = _RIDGE,
) -> None:
    """Chooses each group's channels and fits P, the narrow statistics and E to the original's activations.

    In forward order: P selects the chosen channels (its bias restores their mean), narrow layers hold the chosen
    channels' parameters, narrow BatchNorms' statistics are those of the data that arrives, and E is ridge least squares
    from the narrow tensor that is delivered to the original's tensor, both about their means where the next branches
    restore the mean, or a shift e does. All examples' activations at the current depth are held at once.

    Args:
        branched: the network, changed in place.
        analysis: that it was made from.
        data: a tensor of inputs, or an iterable of batches: tensors, or tuples that start with the forward's arguments.
        choice: of the channels; see `choose_channels`.
        ridge: λ of the least squares, in units of the mean energy of a narrow channel.

    Raises:
        NetworkError: if there is no data, or activations are not finite.
    """
    batches = input_batches(analysis, data)
    chosen = choose_channels(analysis, branched.plan.widths, batches, choice)
    with evaluating(branched):
        _Fit(branched, analysis, batches, chosen, ridge).run()


class _Fit:
    """One walk through the branched graph, carrying the original's values and the delivered ones of all batches."""

    def __init__(
        self,
        branched: BranchedNetwork,
        analysis: Analysis,
        batches: list[tuple[Any, ...]],
        chosen: Mapping[str, Tensor],
        ridge: float,
    ) -> None:
        self.branched, self.batches, self.chosen, self.ridge = branched, batches, chosen, ridge
        self.nodes = list(branched.graph.nodes)
        self.order = fitting_order(self.nodes, analysis.graph)
        self.arrived: dict[BranchCall, tuple[list[Tensor], list[Tensor]]] = {}
        self.wide = {node for node in self.nodes if branch_call(node) is None}
        self.needed = self._needed_at_zero()
        self.centred = {
            node.name
            for node, readers in readers_by_tensor(analysis.graph).items()
            if mean_is_free(analysis, readers, branched.plan.widths)
        }
        self.evaluated = {node.name for node in branched.evaluation.nodes}
        self.last_call = {branch_call(n): n for bundle in self.order for n in bundle if n in self.needed}
        self.interpreter = fx.Interpreter(branched, graph=branched.graph)
        self.original: dict[fx.Node, list[Any]] = {}
        self.delivered: dict[fx.Node, list[Any]] = {}

    def run(self) -> None:
        """Fits every branch, in the order of the graph; values are dropped after their last use."""
        select_values(self.branched, self.chosen)
        last_use = {source: node for bundle in self.order for node in bundle for source in node.all_input_nodes}
        for bundle in self.order:
            for node in bundle:
                self._compute_original(node)
            needed = [node for node in bundle if node in self.needed]
            if needed and is_fitted(needed[0]):
                self._fit(needed)
            for node in needed:
                self._deliver(node)
            for node in bundle:
                for source in node.all_input_nodes:
                    if last_use[source] is node:
                        self.original.pop(source, None)
                        self.delivered.pop(source, None)

    def _compute_original(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.original[node] = self._inputs(node)
        elif blends(node):
            self.original[node] = self.original[node.all_input_nodes[0]]
        elif node in self.wide and node.op != "output":
            self.original[node] = self._execute(node, self.original)

    def _deliver(self, node: fx.Node) -> None:
        """What flows at α = 0, given that all before is fitted."""
        if node.op == "placeholder":
            self.delivered[node] = self._inputs(node)
        elif (call := branch_call(node)) is not None and call.kind is Kind.BLEND:
            blend = self.branched.blend.at(call.path)
            self.delivered[node] = [blend.delivered(z) for z in self.delivered[node.all_input_nodes[1]]]
        elif call is not None and call.kind is Kind.JOIN:
            self.delivered[node] = self.delivered[node.all_input_nodes[1]]
        else:
            self.delivered[node] = self._execute(node, self.delivered)

    def _inputs(self, node: fx.Node) -> list[Any]:
        position = [n for n in self.nodes if n.op == "placeholder"].index(node)
        return [self._argument(node, copied(batch), position) for batch in self.batches]

    def _needed_at_zero(self) -> set[fx.Node]:
        told = next(node for node in reversed(self.branched.evaluation.nodes) if node.op == "output")
        yielded = {node.name for node in told.all_input_nodes}  # the whole graph yields what training does
        needed = {node for node in self.nodes if node.name in yielded}
        for node in reversed(self.nodes):
            if node.op == "output" or node in needed:
                needed.update([node.args[1]] if blends(node) else node.all_input_nodes)
        return needed

    @staticmethod
    def _argument(node: fx.Node, batch: tuple[Any, ...], position: int) -> Any:
        return batch[position] if position < len(batch) else node.args[0]

    def _execute(self, node: fx.Node, values: Mapping[fx.Node, list[Any]]) -> list[Any]:
        run = getattr(self.interpreter, node.op)
        results = []
        for i in range(len(self.batches)):
            args, kwargs = fx.map_arg((node.args, node.kwargs), functools.partial(_pick, values, i))
            results.append(run(node.target, args, kwargs))
        return results

    def _fit(self, calls: list[fx.Node]) -> None:
        """Fits what `calls` call, one module, to all that arrived at it so far."""
        call = branch_call(calls[0])
        assert call is not None
        wide, thin = self.arrived.setdefault(call, ([], []))
        # What training alone computes, dropped paths for example, counts only where evaluation calls it nowhere.
        heard = [node for node in calls if node.name in self.evaluated]
        for node in heard or (calls if not thin else []):
            sources = node.all_input_nodes
            wide += self.original.get(sources[0], [])
            thin += self.delivered[sources[1] if call.kind is Kind.BLEND else sources[0]]
        if call.kind is Kind.COMPRESS:
            self._select(call.path, wide, thin)
        elif call.kind is Kind.NARROW:
            self._narrow(call.path, thin)
        else:
            self._expand(call.path, wide, thin)
        if calls[-1] is self.last_call[call]:
            del self.arrived[call]

    def _select(self, path: str, wide: list[Tensor], thin: list[Tensor]) -> None:
        """P of the writer at `path`, which yields `wide` and delivers `thin`: (N, …, C, …) of every batch both."""
        module, parts = self.branched.compress.at(path), self.branched.plan.writers[path]
        start = 0
        for i, part in enumerate(parts):
            size = part.width * part.span
            if part.branched:
                compress = compress_of(module, i)
                chosen = self.chosen[str(part.group)].to(compress.weight.device)
                compress.weight.copy_(like_blocks(selector(chosen, part.width, compress.weight), compress.weight))
                if compress.bias is not None:
                    shift = (mean(wide, module.dim) - mean(thin, module.dim))[start : start + size]
                    compress.bias.copy_(shift.view(-1, part.span)[chosen].flatten())
            start += size

    def _narrow(self, path: str, thin: list[Tensor]) -> None:
        """The narrow copy of the layer at `path`, at which `thin` (N, k, *) arrives, batch by batch."""
        parts = self.branched.plan.carriers[path]
        places = kept_places(parts, self.chosen).to(self.branched.alphas.device)
        narrow = with_channels(self.branched.network.get_submodule(path), places)
        narrow.eval()
        statistics = channel_tensors(narrow)
        if kind_of(narrow) is BATCH_NORM and "running_mean" in statistics:
            # Channels without a branch keep the original's statistics.
            fitted = torch.cat([torch.full((part.kept * part.span,), part.branched) for part in parts]).to(
                places.device
            )
            centre, variance = moments(thin)
            variance = variance_of_few(thin, variance, statistics["running_var"].double())
            for name, value in (("running_mean", centre), ("running_var", variance)):
                statistics[name].copy_(torch.where(fitted, value, statistics[name].double()))
        self.branched.narrow.put(path, narrow)

    def _expand(self, name: str, wide: list[Tensor], thin: list[Tensor]) -> None:
        """E of a blend, from `thin` (N, …, narrow places, …) to `wide` (N, …, full places, …), batch by batch."""
        blend = self.branched.blend.at(name)
        full, kept = zip(*blend.sizes, strict=True)
        for i, part in enumerate(self.branched.plan.blends[name]):
            if part.branched:
                As = [by_channel(a.split(full, blend.dim)[i], blend.dim, part.width) for a in wide]
                Zs = [by_channel(z.split(kept, blend.dim)[i], blend.dim, part.kept) for z in thin]
                E = blend.expand[str(i)]
                E.copy_(expansion(As, Zs, self.ridge, centred=name in self.centred, blocks=block_count(E)))
                if str(i) in blend.shift:
                    blend.shift[str(i)].copy_(mean(As, 0) - dense(E).double() @ mean(Zs, 0))


def _pick(values: Mapping[fx.Node, list[Any]], i: int, node: fx.Node) -> Any:
    return values[node][i]
