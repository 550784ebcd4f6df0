"""Why trials have no result: one line each, under the table of a study's trials."""

import optuna
from optuna.trial import TrialState

from ...studies.database.retries import NOTE

_WORDS = {TrialState.FAIL: "failed", TrialState.PRUNED: "stopped early"}
# The last ones tell of what happens now.
_SHOWN = 20


def failure_lines(study: optuna.Study) -> list[str]:
    """A line for each trial that failed or was stopped early with a reason, the latest ones last."""
    trials = study.get_trials(deepcopy=False, states=tuple(_WORDS))
    told = [(trial, str(trial.user_attrs[NOTE])) for trial in trials if trial.user_attrs.get(NOTE)]
    lines = [f"trial {trial.number} {_WORDS[trial.state]}: {note}" for trial, note in told]
    return lines if len(lines) <= _SHOWN else [f"{len(lines) - _SHOWN} earlier ones, and", *lines[-_SHOWN:]]
