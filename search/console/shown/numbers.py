"""Numbers for people: shares as percentages, metrics with what so many examples can tell."""

from collections.abc import Sequence

from ....studies.metric import Metric
from ...trial.latency import Latency


def percent(share: float) -> str:
    """A share of 1 as a percentage with one digit, "97.3 %"."""
    return f"{100 * share:.1f} %"


def with_interval(metric: Metric, value: float, interval: Sequence[float] | None) -> str:
    """A metric on examples that nothing was chosen by, "97.3 % (95 % interval 95.1 to 98.6 %)"."""
    if interval is None:
        return f"{metric.text(value)} (no interval: {metric.name} is one value of all examples together)"
    return f"{metric.text(value)} (95 % interval {metric.interval_text(*interval)})"


def latency_lines(latency: Latency, runtime: str) -> str:
    """A latency in two lines: what a pass takes in which runtime, and that beside the full network's."""
    first, third = latency.quartiles
    low, high = latency.share_quartiles
    many = "one example" if latency.batch == 1 else f"{latency.batch} examples"
    threads = "one thread" if latency.threads == 1 else f"{latency.threads} threads"
    rounds = latency.rounds
    unsure = f"; unsure, in all of {rounds} measurements it spreads more than it differs" if latency.unsure else ""
    full = "" if latency.full_milliseconds is None else f" of {latency.full_milliseconds:.3f} ms"
    return (
        f"latency: {latency.milliseconds:.3f} ms in {runtime} for {many} on {threads} "
        f"(interquartile range {first:.3f} to {third:.3f})\n"
        f"{percent(latency.share)} of the full network's latency{full}, timed in turn "
        f"(interquartile range {100 * low:.1f} to {percent(high)}{unsure})"
    )
