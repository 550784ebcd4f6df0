"""Numbers for people: shares as percentages, counts with their noun, metrics with what so many examples can tell."""

from __future__ import annotations

from collections.abc import Sequence

from ..metric import Metric

_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def percent(share: float) -> str:
    """A share of 1 as a percentage with one digit, "97.3 %"."""
    return f"{100 * share:.1f} %"


def count(number: int, noun: str) -> str:
    """A number of things, "1 trial", "3 trials"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_words(number: int) -> str:
    """A small number as sentences have it, "four"; others in digits."""
    return _NUMBERS[number] if 0 <= number < len(_NUMBERS) else f"{number:,}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words as a sentence has them, "a, b and c"; "" of none."""
    return f" {last} ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def with_interval(metric: Metric, value: float, interval: Sequence[float] | None) -> str:
    """A metric on examples that nothing was chosen by, "97.3 % (95 % interval 95.1 to 98.6 %)"."""
    if interval is None:
        return f"{metric.text(value)} (no interval: {metric.name} is one value of all examples together)"
    return f"{metric.text(value)} (95 % interval {metric.interval_text(*interval)})"


def difference_text(metric: Metric, difference: float) -> str:
    """By how much a metric is higher, "+1.2 points", "-0.31 dB"."""
    if metric.unit == "%":
        return f"{100 * difference:+.1f} points"
    return f"{difference:+.3g} {metric.unit}".rstrip()


def seconds_text(seconds: float) -> str:
    """A time, "48 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size_text(size: int) -> str:
    """Bytes for people: "181.2 kB"."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
