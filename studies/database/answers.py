"""Which validation examples each trial's network has right, in a few hundred characters; which equal the best one."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ..statistics import SIGNIFICANCE, holm, mcnemar
from .artifacts import NETWORK
from .storage import stored_definition
from .trials import ranked_trials

# Attribute of a trial: what `packed` gives.
ANSWERS = "answers"
# More than these are left out: 5,464 characters, where MySQL takes 65,535 in an attribute.
MOST_EXAMPLES = 2**15


class Comparison(NamedTuple):
    """Which trials cannot be told from the best by the validation examples.

    Attributes:
        best: number of the best trial.
        p_values: of the trials compared with it, by their numbers: McNemar's exact test, Holm's correction.
    """

    best: int
    p_values: dict[int, float]

    def is_like_the_best(self, number: int) -> bool | None:
        """Whether a trial cannot be told from the best; None if they were not compared."""
        return None if number not in self.p_values else self.p_values[number] >= SIGNIFICANCE


def packed(right: Sequence[bool] | npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Right or wrong, (N,), as a bit each: 5,000 examples are 836 characters."""
    kept = np.asarray(right, dtype=bool)[:MOST_EXAMPLES]
    return {"examples": len(kept), "right": base64.b64encode(np.packbits(kept).tobytes()).decode()}


def unpacked(answers: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """What was `packed`: (N,)."""
    bits = np.frombuffer(base64.b64decode(answers["right"]), dtype=np.uint8)
    return np.unpackbits(bits, count=answers["examples"]).astype(bool)


def compare_with_best(study: optuna.Study) -> Comparison | None:
    """Compares the trials within the budget with the best of them, on the examples that it was chosen by.

    Returns:
        Nothing where there is no best one, where several objectives leave no single one, or where its answers were
        not kept.
    """
    try:
        definition = stored_definition(study)
    except StudyError:  # not made by branchfold, or by a version with other keys
        return None
    ranked = [trial for trial, _ in ranked_trials(study, definition)]
    if not ranked or len(definition.study.objectives) > 1 or ANSWERS not in ranked[0].user_attrs:
        return None
    best = unpacked(ranked[0].user_attrs[ANSWERS])
    tests: dict[Any, float] = {}  # by network: a trial that was the same as another has the other's
    for trial in ranked[1:]:
        if ANSWERS in trial.user_attrs and _network(trial) != _network(ranked[0]):
            answers = unpacked(trial.user_attrs[ANSWERS])
            if len(answers) == len(best):
                tests.setdefault(_network(trial), mcnemar(best, answers))
    corrected = {_network(ranked[0]): 1.0, **dict(zip(tests, holm(list(tests.values())), strict=True))}
    p_values = {trial.number: corrected[key] for trial in ranked[1:] if (key := _network(trial)) in corrected}
    return Comparison(ranked[0].number, p_values)


def _network(trial: FrozenTrial) -> Any:
    return trial.user_attrs.get(NETWORK, trial.number)
