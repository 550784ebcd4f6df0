"""Numbers for people: shares as percentages, metrics with what so many examples can tell."""

from ....studies.tables.words import percent as percent
from ....studies.tables.words import with_interval as with_interval
from ...trial.latency import Latency


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
