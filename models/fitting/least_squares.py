"""Fitting the branches to data, group after group, each on what the groups before it deliver."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..branches.blocks import block_count, dense, like_blocks
from ..branches.calls import BranchCall, Kind, blends, branch_call, is_fitted, name_in_original
from ..branches.folding.folding import folded_layer
from ..branches.modules import compress_of
from ..branches.network import BranchedNetwork
from ..branches.plan import Part, kept_places
from ..channels.groups import Analysis
from ..channels.reuse import readers_by_tensor
from ..layers.kinds import BATCH_NORM, channel_tensors, kind_of
from ..layers.modes import evaluating
from ..layers.narrowing import with_channels
from ..tracing.inputs import copied
from .choice import choose_channels
from .estimates import Rows, expansion, joint_mean, mean, moments, selector, variance_of_few
from .order import fitting_order
from .original import Original
from .readers import mean_is_free
from .subset import by_channel
from .unfitted import select_values

_RIDGE = 1e-4


def initialise_from_data(
    branched: BranchedNetwork,
    analysis: Analysis,
    original: Original,
    *,
    choice: str = "greedy",
    ridge: float = _RIDGE,
) -> None:
    """Chooses each group's channels and fits P, the narrow statistics and E to the original's activations.

    In forward order: P selects the chosen channels (its bias restores their mean), narrow layers hold the chosen
    channels' parameters, narrow BatchNorms' statistics are those of the data that arrives, and E is ridge least squares
    from the narrow tensor that is delivered to the original's tensor, both about their means where the next branches
    restore the mean, or a shift e does. All examples' delivered activations at the current depth are held at once; the
    original's are those that `original` holds, or run beside them.

    Args:
        branched: the network, changed in place.
        analysis: that it was made from.
        original: the same network on data, recorded for all groups with a branch.
        choice: of the channels; see `choose_channels`.
        ridge: λ of the least squares, in units of the mean energy of a narrow channel.

    Raises:
        NetworkError: if activations are not finite.
    """
    chosen = choose_channels(analysis, branched.plan.widths, original, choice)
    with evaluating(branched):
        _Fit(branched, analysis, original, chosen, ridge).run()


class _Fit:
    """One walk through the branched graph, carrying the delivered values of all batches, and the original's if need be.

    Between E and P the delivered side is as narrow as it will be: a layer runs with both multiplied into its weights.
    """

    def __init__(
        self,
        branched: BranchedNetwork,
        analysis: Analysis,
        original: Original,
        chosen: Mapping[str, Tensor],
        ridge: float,
    ) -> None:
        self.branched, self.known, self.chosen, self.ridge = branched, original, chosen, ridge
        self.batches = original.batches
        self.nodes = list(branched.graph.nodes)
        self.order = fitting_order(self.nodes, analysis.graph)
        self.arrived: dict[BranchCall, tuple[list[tuple[Rows | None, ...]], list[Tensor]]] = {}
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
        self.selected: dict[fx.Node, list[Any]] = {}  # of what is delivered to P, the channels that it selects

    def run(self) -> None:
        """Fits every branch, in the order of the graph; values are dropped after their last use."""
        select_values(self.branched, self.chosen)
        for path, parts in self.branched.plan.writers.items():
            self._select(path, parts)
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
                        self.selected.pop(source, None)

    def _compute_original(self, node: fx.Node) -> None:
        if self.known.holds:
            return
        if node.op == "placeholder":
            self.original[node] = self._inputs(node)
        elif blends(node):
            self.original[node] = self.original[node.all_input_nodes[0]]
        elif node in self.wide and node.op != "output":
            self.original[node] = self._execute(node, self.original)

    def _deliver(self, node: fx.Node) -> None:
        """What flows at α = 0, given that all before is fitted; between P and the next layer, its narrow channels."""
        call = branch_call(node)
        if node.op == "placeholder":
            self.delivered[node] = self._inputs(node)
        elif blends(node):
            self.delivered[node] = self.delivered[node.all_input_nodes[1]]
        elif call is not None and call.kind is Kind.COMPRESS:
            self.delivered[node] = self._shifted(call.path, self.selected[node.all_input_nodes[0]])
        elif call is None and node.op == "call_module" and self._is_beside_a_branch(path := _path_of(node)):
            self._deliver_layer(node, path)
        else:
            self.delivered[node] = self._execute(node, self.delivered)

    def _is_beside_a_branch(self, path: str) -> bool:
        return path in self.branched.plan.writers or path in self.branched.plan.readers

    def _deliver_layer(self, node: fx.Node, path: str) -> None:
        """What a layer writes that reads narrow channels, for P those that stay, for whatever else reads it all."""
        users = [user for user in node.users if user in self.needed]
        compressed = [is_fitted(user) for user in users]
        if any(compressed):
            self.selected[node] = self._called(node, folded_layer(self.branched, path, narrow=True))
        if not all(compressed):
            self.delivered[node] = self._called(node, folded_layer(self.branched, path, narrow=False))

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
        return self._run(node, values, getattr(self.interpreter, node.op))

    def _called(self, node: fx.Node, layer: nn.Module) -> list[Any]:
        return self._run(node, self.delivered, lambda target, args, kwargs: layer(*args, **kwargs))

    def _run(self, node: fx.Node, values: Mapping[fx.Node, list[Any]], work: Callable[..., Any]) -> list[Any]:
        results = []
        with self.known.running():
            for i in range(len(self.batches)):
                args, kwargs = fx.map_arg((node.args, node.kwargs), functools.partial(_pick, values, i))
                results.append(work(node.target, args, kwargs))
        return results

    def _fit(self, calls: list[fx.Node]) -> None:
        """Fits what `calls` call, one module, to all that arrived at it so far."""
        call = branch_call(calls[0])
        assert call is not None
        wide, thin = self.arrived.setdefault(call, ([], []))
        # What training alone computes, dropped paths for example, counts only where evaluation calls it nowhere.
        heard = [node for node in calls if node.name in self.evaluated]
        for node in heard or (calls if not thin else []):
            inputs = node.all_input_nodes
            wide += self._asked_of_the_original(call, inputs[0])
            values = self.selected if call.kind is Kind.COMPRESS else self.delivered
            thin += values[inputs[1] if call.kind is Kind.BLEND else inputs[0]]
        if call.kind is Kind.COMPRESS:
            self._shift(call.path, [rows for segments in wide for rows in segments if rows is not None], thin)
        elif call.kind is Kind.NARROW:
            self._narrow(call.path, thin)
        else:
            self._expand(call.path, wide, thin)
        if calls[-1] is self.last_call[call]:
            del self.arrived[call]

    def _asked_of_the_original(self, call: BranchCall, source: fx.Node) -> list[tuple[Rows | None, ...]]:
        """What fitting a call looks at of `source`: all places along the channels, or each segment's channels."""
        if call.kind is Kind.COMPRESS and any(bias is not None for bias in self._biases(call.path)):
            return [(self.known.written(name_in_original(source)),)]
        if call.kind is not Kind.BLEND:
            return []
        if self.known.holds:
            return [self.known.read(name_in_original(source))]
        blend, parts = self.branched.blend.at(call.path), self.branched.plan.blends[call.path]
        rows = [Rows(products=False, held=True) if part.branched else None for part in parts]
        for value in self.original[source]:
            for seen, part, x in zip(
                rows, parts, value.split([full for full, _ in blend.sizes], blend.dim), strict=True
            ):
                if seen is not None:
                    seen.add(by_channel(x, blend.dim, part.width))
        return [tuple(rows)]

    def _select(self, path: str, parts: tuple[Part, ...]) -> None:
        """P of the writer at `path`, which takes the chosen channels out."""
        for i, part in enumerate(parts):
            if part.branched:
                P = compress_of(self.branched.compress.at(path), i).weight
                P.copy_(like_blocks(selector(self.chosen[str(part.group)], part.width, P), P))

    def _biases(self, path: str) -> list[Tensor | None]:
        """P (k · span,) of each part of what the writer at `path` writes; None where there is none."""
        module, parts = self.branched.compress.at(path), self.branched.plan.writers[path]
        return [compress_of(module, i).bias if part.branched else None for i, part in enumerate(parts)]

    def _shift(self, path: str, wide: list[Rows], thin: list[Tensor]) -> None:
        """P of the writer at `path`: the original's mean, less that of what is delivered, `thin` (N, …, kept, …)."""
        start = kept = 0
        for part, bias in zip(self.branched.plan.writers[path], self._biases(path), strict=True):
            size, narrow = part.width * part.span, part.kept * part.span
            if bias is not None:
                chosen = self.chosen[str(part.group)].to(bias.device)
                wanted = joint_mean(wide)[start : start + size].view(-1, part.span)[chosen].flatten()
                bias.copy_(wanted - mean(thin, self.branched.compress.at(path).dim)[kept : kept + narrow])
            start, kept = start + size, kept + narrow

    def _shifted(self, path: str, thin: list[Tensor]) -> list[Tensor]:
        """What the writer at `path` delivers, `thin` (N, …, kept, …) of every batch, with p."""
        biases, dim = self._biases(path), self.branched.compress.at(path).dim
        if all(bias is None for bias in biases):
            return thin
        sizes = [part.kept * part.span for part in self.branched.plan.writers[path]]
        shift = torch.cat([thin[0].new_zeros(n) if p is None else p for p, n in zip(biases, sizes, strict=True)])
        return [z + shift.view(-1, *(1,) * (z.dim() - 1 - dim)) for z in thin]

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

    def _expand(self, name: str, wide: list[tuple[Rows | None, ...]], thin: list[Tensor]) -> None:
        """E of a blend, from `thin` (N, …, narrow places, …) of every batch to the original's channels `wide`."""
        blend = self.branched.blend.at(name)
        kept = [narrow for _, narrow in blend.sizes]
        for i, part in enumerate(self.branched.plan.blends[name]):
            if part.branched:
                rows = [segment for segments in wide if (segment := segments[i]) is not None]
                As, shifts = zip(*((A, each.shift) for each in rows for A in each.batches), strict=True)
                Zs = [by_channel(z.split(kept, blend.dim)[i], blend.dim, part.kept) for z in thin]
                E, centred = blend.expand[str(i)], name in self.centred
                E.copy_(expansion(As, Zs, self.ridge, centred=centred, blocks=block_count(E), shifts=shifts))
                if str(i) in blend.shift:
                    blend.shift[str(i)].copy_(joint_mean(rows) - dense(E).double() @ mean(Zs, 0))


def _path_of(node: fx.Node) -> str:
    """The original's path of a layer that a node of the wide side calls."""
    return str(node.target).removeprefix(f"{Kind.SHARED.value}.")


def _pick(values: Mapping[fx.Node, list[Any]], i: int, node: fx.Node) -> Any:
    return values[node][i]
