"""The table of rules, one for each kind of operation, found by its module type, function or method."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, fx, nn

from ...layers.equivalences import function_of
from ...layers.kinds import behaves_as, qualified_name
from ...tracing.graph import shape_of
from ..derived import follow_derived, reads_value
from ..graph import ChannelGraph
from ..layouts import Layout
from ..nodes import label
from ..parameters import follow_values

Rule = Callable[[fx.Node, ChannelGraph], None]

MODULE_RULES: dict[type[nn.Module], Rule] = {}
FUNCTION_RULES: dict[Callable[..., Any], Rule] = {}
METHOD_RULES: dict[str, Rule] = {}
# Of libraries that are not imported for their rules alone, by qualified name.
NAMED_RULES: dict[str, Rule] = {}


_OUTPUT = "it is the network's output"


def follow(node: fx.Node, graph: ChannelGraph) -> None:
    """Applies the rule of one node; numbers that it uses without understanding them fix what they follow from."""
    if not _awaits_channels(node, graph):
        _apply(node, graph)
        if _loses_pairs(node, graph):
            graph.fix(node, f"{label(node)} is not known to treat each two channels on their own")
    graph.fix_unexplained(node)
    graph.followed.add(node)


def _awaits_channels(node: fx.Node, graph: ChannelGraph) -> bool:
    """Whether a node works on parameters alone, of which nothing told yet which of their dimensions are channels."""
    if node.op not in ("call_function", "call_method") or graph.has_batch(node) or shape_of(node) is None:
        return False
    known = (graph.layouts, graph.pieces, graph.derived, graph.numbers, graph.sizes, graph.lost)
    return not any(source in found for found in known for source in node.all_input_nodes)


def _loses_pairs(node: fx.Node, graph: ChannelGraph) -> bool:
    """Whether a node reads products of channels with channels by a rule that speaks of one dimension alone."""
    told = node in graph.second or node in graph.products or not reads_value(node, graph)
    return not told and any(source in graph.second for source in node.all_input_nodes)


def _apply(node: fx.Node, graph: ChannelGraph) -> None:
    if node.op == "output":
        sources = list(node.all_input_nodes)
        if graph.traced.evaluation is not None:
            fx.map_arg(graph.traced.evaluation.result, sources.append)
        for source in sources:
            for layout in graph.layouts_of(source):
                layout.fix(_OUTPUT)
    elif node.op == "get_attr":
        follow_values(node, graph)
    elif follow_derived(node, graph):
        pass
    elif node.op == "call_module":
        kind = behaves_as(graph.traced.module(node))
        (MODULE_RULES.get(kind) or NAMED_RULES.get(qualified_name(kind), not_known))(node, graph)
    elif node.op == "call_function" and callable(node.target):
        target = function_of(node.target)
        rule = FUNCTION_RULES.get(target) or _rule_of_method(target)
        (rule or NAMED_RULES.get(qualified_name(target), not_known))(node, graph)
    elif node.op == "call_method":
        METHOD_RULES.get(str(node.target), not_known)(node, graph)


def _rule_of_method(function: Callable[..., Any]) -> Rule | None:
    """The rule of a method that was called as a function of its class, `Tensor.unflatten(x, …)`."""
    name = getattr(function, "__name__", "")
    return METHOD_RULES.get(name) if getattr(Tensor, name, None) is function else None


def rule_for(
    *,
    modules: Iterable[type[nn.Module]] = (),
    functions: Iterable[Callable[..., Any]] = (),
    methods: str = "",
    named: Iterable[str] = (),
) -> Callable[[Rule], Rule]:
    """Enters the rule below it for these modules, functions, methods, and what is called so by its qualified name."""

    def register(rule: Rule) -> Rule:
        NAMED_RULES.update(dict.fromkeys(named, rule))
        MODULE_RULES.update(dict.fromkeys(modules, rule))
        FUNCTION_RULES.update(dict.fromkeys(functions, rule))
        METHOD_RULES.update(dict.fromkeys(methods.split(), rule))
        return rule

    return register


def types(names: str) -> tuple[type[nn.Module], ...]:
    """The module types of torch's of these names."""
    return tuple(getattr(nn, name) for name in names.split())


def functions(library: Any, names: str) -> tuple[Callable[..., Any], ...]:
    """The functions of a library of these names."""
    return tuple(getattr(library, name) for name in names.split())


def source_of(node: fx.Node) -> fx.Node | None:
    """The node that is a node's first argument."""
    return node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None


def known_layout(source: fx.Node | None, graph: ChannelGraph) -> Layout | None:
    """The layout of what a node yields, if its channels are followed."""
    return None if source is None else graph.layouts.get(source)


def not_known(node: fx.Node, graph: ChannelGraph) -> None:
    """The rule of what has no rule: the channels are fixed, with its name as the reason."""
    if _is_container(node) and all(user.op == "output" or _is_container(user) for user in node.users):
        return graph.fix(node, _OUTPUT)
    if node.op == "call_module":
        name = type(graph.traced.module(node)).__name__
    else:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    told = f"{name} is not known to treat each channel on its own"
    users = not str(getattr(node.target, "__module__", None) or "torch").startswith(("torch", "_operator", "builtins"))
    free = "; if it does what one of torch's does, `treat_as` says so" if users and callable(node.target) else ""
    return graph.fix(node, told + free)


def _is_container(node: fx.Node) -> bool:
    """Whether a node puts tensors into a named tuple or an ordered dict."""
    return isinstance(node.target, type) and issubclass(node.target, tuple | OrderedDict)
