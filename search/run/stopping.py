"""When a run is over before it has its number of trials: the grid is through, or the best has not improved for long."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from ...studies.database.attributes import ENDED, EXHAUSTED
from ...studies.database.rungs import left, whole, worth
from ...studies.database.trials import finished_trials, ranked_trials
from ...studies.definition.reading import Definition


def is_exhausted(study: optuna.Study) -> bool:
    """Whether every combination of the study's grid was tried, and none is queued again."""
    return EXHAUSTED in study.user_attrs and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def is_over(study: optuna.Study) -> bool:
    """Whether no worker of the study is to begin another trial, though some are left."""
    return bool(study.user_attrs.get(ENDED)) or is_exhausted(study)


def trials_left(study: optuna.Study, target: int) -> int:
    """How many more whole trials than are finished or running anywhere a study takes to have `target`; 0 at least."""
    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return left(target, worth(study.get_trials(deepcopy=False, states=counted)))


def trials_since_best(study: optuna.Study, definition: Definition) -> int:
    """How many trials finished after the best one did; with several objectives, after the last of the Pareto front.

    All of them where none is within the budget yet. Trials of lower rungs count as parts of whole ones.
    """
    finished = sorted(finished_trials(study), key=_end)
    if len(definition.study.objectives) > 1:
        best = {trial.number for trial in study.best_trials}
    else:
        best = {trial.number for trial, _ in ranked_trials(study, definition)[:1]}
    places = [place for place, trial in enumerate(finished, start=1) if trial.number in best]
    return whole(worth(finished[max(places, default=0) :]))


def end_if_stuck(study: optuna.Study, definition: Definition, patience: int | None) -> bool:
    """Ends a study for all its workers where the best has not improved for `patience` trials; whether it did."""
    if patience is None or trials_since_best(study, definition) < patience:
        return False
    study.set_user_attr(ENDED, f"the best has not improved for {patience} trials")
    return True


def _end(trial: FrozenTrial) -> float:
    return 0.0 if trial.datetime_complete is None else trial.datetime_complete.timestamp()
