"""Fitting the branches to data, group after group, each on what the groups before it deliver."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..branches.modules import Blend, Compress
from ..branches.network import BranchedNetwork
from ..branches.plan import kept_places, key_of, path_of
from ..channels.groups import Analysis
from ..channels.parameters import narrowed
from ..channels.reuse import fitting_order, is_fitted
from ..layers.modes import preserving_modes
from ..layers.narrowing import BATCH_NORMS, with_channels
from ..tracing.inputs import copied
from .activations import input_batches
from .choice import choose_channels
from .readers import mean_is_restored, readers_of
from .subset import by_channel, ridge_least_squares

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
    restore the mean. All examples' activations at the current depth are held at once.

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
    with preserving_modes(branched), torch.no_grad():
        branched.eval()
        _Fit(branched, analysis, batches, chosen, ridge).run()


def is_blend(node: fx.Node) -> bool:
    """Whether a node of the branched graph blends."""
    return node.op == "call_module" and str(node.target).startswith("blend.")


def is_narrow(node: fx.Node, wide: Mapping[fx.Node, Any]) -> bool:
    """Whether a node works on the narrow side, given the wide nodes before it."""
    if node.op in ("call_module", "get_attr") and str(node.target).startswith(("compress.", "narrow.", "values.")):
        return True
    return any(source not in wide for source in node.all_input_nodes)


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
        self.arrived: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        self.wide = self._wide_nodes()
        self.needed = self._needed_at_zero()
        self.centred = {
            key_of(node.name)
            for node, readers in readers_of(analysis).items()
            if mean_is_restored(analysis, readers, branched.plan.widths)
        }
        self.last_call = {str(n.target): n for bundle in self.order for n in bundle if n in self.needed}
        self.interpreter = fx.Interpreter(branched, graph=branched.graph)
        self.original: dict[fx.Node, list[Any]] = {}
        self.delivered: dict[fx.Node, list[Any]] = {}

    def run(self) -> None:
        """Fits every branch, in the order of the graph; values are dropped after their last use."""
        for path, part in self.branched.plan.values.items():
            parameter = self.branched.network.get_parameter(path)
            self.branched.values[key_of(path)] = narrowed(parameter, kept_places((part,), self.chosen))
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
        elif is_blend(node):
            self.original[node] = self.original[node.all_input_nodes[0]]
        elif node in self.wide and node.op != "output":
            self.original[node] = self._execute(node, self.original)

    def _deliver(self, node: fx.Node) -> None:
        """What flows at α = 0, given that all before is fitted."""
        if node.op == "placeholder":
            self.delivered[node] = self._inputs(node)
        elif is_blend(node):
            blend = self.branched.get_submodule(str(node.target))
            assert isinstance(blend, Blend)
            self.delivered[node] = [blend.delivered(z) for z in self.delivered[node.all_input_nodes[1]]]
        else:
            self.delivered[node] = self._execute(node, self.delivered)

    def _inputs(self, node: fx.Node) -> list[Any]:
        position = [n for n in self.nodes if n.op == "placeholder"].index(node)
        return [self._argument(node, copied(batch), position) for batch in self.batches]

    def _wide_nodes(self) -> dict[fx.Node, None]:
        wide: dict[fx.Node, None] = {}
        for node in self.nodes:
            if is_blend(node) or not is_narrow(node, wide):
                wide[node] = None
        return wide

    def _needed_at_zero(self) -> set[fx.Node]:
        needed: set[fx.Node] = set()
        for node in reversed(self.nodes):
            if node.op == "output" or node in needed:
                needed.update([node.args[1]] if is_blend(node) else node.all_input_nodes)
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
        target = str(calls[0].target)
        kind, _, key = target.partition(".")
        wide, thin = self.arrived.setdefault(target, ([], []))
        for node in calls:
            sources = node.all_input_nodes
            wide += self.original.get(sources[0], [])
            thin += self.delivered[sources[1] if kind == "blend" else sources[0]]
        if kind == "compress":
            self._select(key, wide, thin)
        elif kind == "narrow":
            self._narrow(key, thin)
        else:
            self._expand(key, wide, thin)
        if calls[-1] is self.last_call[target]:
            del self.arrived[target]

    def _select(self, key: str, wide: list[Tensor], thin: list[Tensor]) -> None:
        compress = self.branched.compress.get_submodule(key)
        assert isinstance(compress, Compress)
        chosen = self.chosen[self.branched.plan.writers[path_of(key)]].to(compress.weight.device)
        compress.weight.zero_()
        compress.weight[torch.arange(len(chosen)), chosen] = 1
        if compress.bias is not None:
            shift = _mean(wide, compress.dim) - _mean(thin, compress.dim)
            compress.bias.copy_(shift[chosen])

    def _narrow(self, key: str, thin: list[Tensor]) -> None:
        path = path_of(key)
        parts = self.branched.plan.carriers[path]
        layer = self.branched.network.get_submodule(path)
        places = kept_places(parts, self.chosen)
        narrow = with_channels(layer, places.to(self.branched.alphas.device))
        narrow.eval()
        if isinstance(narrow, BATCH_NORMS) and narrow.running_mean is not None and narrow.running_var is not None:
            mean, variance = _moments(thin)
            fitted = torch.cat([torch.full((part.kept * part.span,), part.branched) for part in parts])
            fitted = fitted.to(mean.device)
            narrow.running_mean.copy_(torch.where(fitted, mean, narrow.running_mean.double()))
            narrow.running_var.copy_(torch.where(fitted, variance, narrow.running_var.double()))
        self.branched.narrow[key] = narrow

    def _expand(self, name: str, wide: list[Tensor], thin: list[Tensor]) -> None:
        blend = self.branched.blend.get_submodule(name)
        assert isinstance(blend, Blend)
        for i, part in enumerate(self.branched.plan.blends[name]):
            if not part.branched:
                continue
            ZZ = torch.zeros(part.kept, part.kept, dtype=torch.float64, device=self.branched.alphas.device)
            AZ = torch.zeros(part.width, part.kept, dtype=torch.float64, device=ZZ.device)
            As = [by_channel(a.split([s for s, _ in blend.sizes], blend.dim)[i], blend.dim, part.width) for a in wide]
            Zs = [by_channel(z.split([s for _, s in blend.sizes], blend.dim)[i], blend.dim, part.kept) for z in thin]
            if name in self.centred:
                As, Zs = _centred(As), _centred(Zs)
            for A, Z in zip(As, Zs, strict=True):
                ZZ += Z @ Z.T
                AZ += A @ Z.T
            blend.expand[str(i)].copy_(ridge_least_squares(ZZ, AZ, self.ridge))


def _pick(values: Mapping[fx.Node, list[Any]], i: int, node: fx.Node) -> Any:
    return values[node][i]


def _centred(columns: list[Tensor]) -> list[Tensor]:
    """Rows (C, *) without their mean over all columns of all batches."""
    count = sum(rows.shape[1] for rows in columns)
    mean = torch.stack([rows.double().sum(1) for rows in columns]).sum(0) / count
    return [rows - mean[:, None].to(rows.dtype) for rows in columns]


def _mean(values: list[Tensor], dim: int) -> Tensor:
    columns = [by_channel(x, dim, x.shape[dim]) for x in values]
    count = sum(column.shape[1] for column in columns)
    return torch.stack([column.double().sum(1) for column in columns]).sum(0) / count


def _moments(values: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance (C,) over examples and positions."""
    columns = [by_channel(x, 1, x.shape[1]) for x in values]
    count = sum(column.shape[1] for column in columns)
    mean = torch.stack([column.double().sum(1) for column in columns]).sum(0) / count
    squares = torch.stack([(column.double() - mean[:, None]).square().sum(1) for column in columns]).sum(0)
    return mean, squares / max(count - 1, 1)
