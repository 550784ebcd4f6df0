"""What a study delivered: the network that its last run exported, on the test split, beside others."""

from __future__ import annotations

from typing import Any, NamedTuple

import optuna

from ..optuna_internals import replace_study_system_attrs, study_system_attrs

# Attribute of a study, of those that the dashboard does not show: it has the same in words.
OUTCOME = "branchfold:outcome"


class Judged(NamedTuple):
    """A network's metric on the examples that the delivered one was judged on, with its 95 % interval if it has one."""

    value: float
    interval: tuple[float, float] | None


class Outcome(NamedTuple):
    """A delivery.

    Attributes:
        trial: number in the study of the recipe that was delivered.
        finished: trials that the study had finished then.
        split: that the networks were judged on: "test", or "validation" where there is no other.
        examples: of that split.
        network: the delivered network.
        baseline: the full one.
        known: the known recipe's; None where it is what was delivered, or was not tried.
        macs: of the delivered network; `full_macs` of the baseline, and so on.
        latency: milliseconds of one example; of the full one as well, and their ratio with its quartiles.
        latency_unsure: whether that ratio spreads more than it differs.
        runtime: that both were timed in.
        file: name of the exported file; `size` is its bytes, `full_size` those of the baseline's.
        runs: the metric on the validation split of each new run of the delivered recipe; empty without finalists.
        among: how many it was selected from.
    """

    trial: int
    finished: int
    split: str
    examples: int
    network: Judged
    baseline: Judged
    known: Judged | None
    macs: int
    full_macs: int
    parameters: int
    full_parameters: int
    latency: float
    full_latency: float | None
    latency_share: float
    latency_quartiles: tuple[float, float]
    latency_unsure: bool
    runtime: str
    file: str
    size: int | None
    full_size: int | None
    runs: tuple[float, ...]
    among: int


def record_outcome(study: optuna.Study, outcome: Outcome) -> None:
    """Keeps what was delivered; it replaces what was before."""
    replace_study_system_attrs(study, {OUTCOME: outcome._asdict()})


def outcome_of(study: optuna.Study) -> Outcome | None:
    """What the study delivered last; None before, or by an earlier version."""
    kept: dict[str, Any] | None = study_system_attrs(study, [OUTCOME]).get(OUTCOME)
    if kept is None:
        return None
    judged = {
        name: None if kept[name] is None else Judged(kept[name][0], _pair(kept[name][1]))
        for name in ("network", "baseline", "known")
    }
    quartiles = tuple(kept["latency_quartiles"])
    return Outcome(**{**kept, **judged, "latency_quartiles": quartiles, "runs": tuple(kept["runs"])})


def _pair(values: list[float] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])
