"""How each trial's network does on each validation example, in a few thousand characters; which equal the best one."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ..metric import Metric
from ..statistics import SIGNIFICANCE, holm, mcnemar, permuted
from .places.artifacts import NETWORK
from .storage import stored_definition
from .trials import ranked_trials

# Attribute of a trial: what `packed` gives.
ANSWERS = "answers"
# More than these are left out: 5,464 characters of right and wrong, 43,692 of scores, where MySQL takes 65,535 in an
# attribute.
MOST_EXAMPLES = 2**15
MOST_SCORES = 2**13


class Comparison(NamedTuple):
    """Which trials cannot be told from the best by the validation examples.

    Attributes:
        best: number of the best trial.
        p_values: of the trials compared with it, by their numbers: McNemar's exact test of what is right and wrong, a
            permutation test of pairs for other scores; Holm's correction.
        test: its name.
    """

    best: int
    p_values: dict[int, float]
    test: str

    def is_like_the_best(self, number: int) -> bool | None:
        """Whether a trial cannot be told from the best; None if they were not compared."""
        return None if number not in self.p_values else self.p_values[number] >= SIGNIFICANCE


def packed(scores: npt.NDArray[np.float64], metric: Metric) -> dict[str, Any]:
    """The score of each example, (N,): right or wrong as a bit each, 5,000 of them in 836 characters, others whole."""
    if metric.kind == "share":
        right = scores[:MOST_EXAMPLES] > 0
        return {"examples": len(right), "right": _text(np.packbits(right))}
    kept = scores[:MOST_SCORES].astype("<f4")
    return {"examples": len(kept), "scores": _text(kept)}


def unpacked(answers: dict[str, Any]) -> npt.NDArray[Any]:
    """What was `packed`: (N,) of bool or of float32."""
    if "scores" in answers:
        return np.frombuffer(base64.b64decode(answers["scores"]), dtype="<f4")
    bits = np.frombuffer(base64.b64decode(answers["right"]), dtype=np.uint8)
    return np.unpackbits(bits, count=answers["examples"]).astype(bool)


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


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
    compare, test = (
        (mcnemar, "McNemar's exact test") if best.dtype == bool else (permuted, "a permutation test of pairs")
    )
    tests: dict[Any, float] = {}  # by network: a trial that was the same as another has the other's
    for trial in ranked[1:]:
        if ANSWERS in trial.user_attrs and _network(trial) != _network(ranked[0]):
            answers = unpacked(trial.user_attrs[ANSWERS])
            if len(answers) == len(best):
                tests.setdefault(_network(trial), compare(best, answers))
    corrected = {_network(ranked[0]): 1.0, **dict(zip(tests, holm(list(tests.values())), strict=True))}
    p_values = {trial.number: corrected[key] for trial in ranked[1:] if (key := _network(trial)) in corrected}
    return Comparison(ranked[0].number, p_values, test)


def _network(trial: FrozenTrial) -> Any:
    return trial.user_attrs.get(NETWORK, trial.number)
