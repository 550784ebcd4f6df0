"""What a study delivered, in sentences: what was won, and how sure that is."""

from __future__ import annotations

from ..database.findings.outcome import Judged, Outcome
from ..metric import Metric
from .words import count, listed, percent, with_interval


def won(outcome: Outcome, metric: Metric) -> str:
    """What the delivered network has and costs, beside the baseline."""
    size = ""
    if outcome.size is not None and outcome.full_size is not None:
        size = f", {percent(outcome.size / outcome.full_size)} of the file's size"
    where = f"on {count(outcome.examples, f'{outcome.split} example')}"
    return (
        f"{percent(outcome.macs / outcome.full_macs)} of the MACs, "
        f"{percent(outcome.parameters / outcome.full_parameters)} of the parameters, {latency_words(outcome)}{size}; "
        f"{metric.name} {metric.text(outcome.network.value)}, the baseline's {metric.text(outcome.baseline.value)}, "
        f"{where}"
    )


def latency_words(outcome: Outcome) -> str:
    """The latency beside the baseline's, "61.0 % of the latency"."""
    unsure = " (unsure: it spreads more than it differs)" if outcome.latency_unsure else ""
    return f"{percent(outcome.latency_share)} of the latency{unsure}"


def how_sure(outcome: Outcome, metric: Metric) -> str:
    """What the examples can tell of the delivered network beside the baseline and the known recipe."""
    parts = [with_interval(metric, outcome.network.value, outcome.network.interval)]
    if outcome.split != "test":
        parts = [
            f"{metric.text(outcome.network.value)} is too good by some luck: trials were selected by these examples, "
            f"and there is no test split"
        ]
    others = {"the baseline's": outcome.baseline}
    if outcome.known is not None:
        others["the known recipe's"] = outcome.known
    level = [name for name, judged in others.items() if overlap(outcome.network, judged)]
    apart = [name for name, judged in others.items() if overlap(outcome.network, judged) is False]
    if level:
        parts.append(f"that overlaps {listed(level)}: so few examples cannot tell them apart for sure")
    if apart:
        parts.append(f"that lies apart from {listed(apart)}")
    if outcome.runs:
        values = ", ".join(map(metric.text, outcome.runs))
        parts.append(f"new runs of the recipe on validation: {values}")
    return "; ".join(parts)


def overlap(one: Judged, other: Judged) -> bool | None:
    """Whether the intervals of two networks overlap; None where they have none."""
    if one.interval is None or other.interval is None:
        return None
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]
