"""Whether a baseline is any better than one and the same answer for every example."""

from typing import Any

from ...studies.statistics import Interval
from .problem import Problem

# By less than this share of it, a metric of all examples together is no better than another one.
_ALIKE = 0.02


def at_chance(value: float, interval: Interval | None, problem: Problem) -> str | None:
    """A line about a baseline that is no better than always the same answer; None about a better one.

    Args:
        value: of its metric on the validation split.
        interval: of the value; None where it has none.
        problem: the study's.
    """
    constant = best_constant(problem)
    if constant is None:
        return None
    metric, count, data = problem.task.metric, len(problem.data.validation), problem.data
    # The end of the interval that speaks for the baseline least.
    margin = _ALIKE * abs(constant)
    low, high = (value - margin, value + margin) if interval is None else interval
    if metric.quality(low if metric.higher_is_better else high) > metric.quality(constant):
        return None
    scaled = "as your own data set gives them"
    if data.mean:
        mean, std = (", ".join(f"{value:.3f}" for value in values) for values in (data.mean, data.std))
        scaled = f"normalised by mean ({mean}) and std ({std}), see data.normalisation"
    if metric.kind == "share":
        told = (
            f"it is right in {metric.text(value)} of the {count} validation examples, one and the same class in "
            f"{metric.text(constant)}. Was it trained on inputs like these, {scaled}, and on classes in this order?"
        )
    else:
        told = (
            f"its {metric.name} on the {count} validation examples is {metric.text(value)}, that of one and the same "
            f"answer {metric.text(constant)}. Was it trained on inputs like these, {scaled}, and on such targets?"
        )
    return f"the baseline is at chance: {told}"


def best_constant(problem: Problem) -> float | None:
    """The metric of the best answer that is the same for all validation examples; None where none is known."""
    task, metric = problem.task, problem.task.metric
    answers = task.constants(task.targets(*batch) for batch in problem.validation_batches())
    judges = [task.judge() for _ in answers]
    if not judges:
        return None
    for inputs, given in problem.validation_batches():
        targets: Any = task.targets(inputs, given)
        for answer, judge in zip(answers, judges, strict=True):
            judge.add(answer(targets), targets)
    return max((judge.value() for judge in judges), key=metric.quality)
