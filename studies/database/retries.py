"""Trials that were cut short: each goes on as another one, once, unless it kills whatever runs it."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, TrialState

from .optuna_internals import insert_trial_attr
from .rungs import FROM, RUNG

# Attributes of a trial that are its own, whichever number it has: the known recipe that it is, the seed that it began
# with, the name of its checkpoint, how many processes died that ran it, its rung, and where its recipe comes from.
KNOWN = "known"
SEED = "seed"
CHECKPOINT = "checkpoint"
DEATHS = "deaths"
_LASTING = (KNOWN, SEED, CHECKPOINT, DEATHS, RUNG, FROM)
# A trial that goes on: the number that it had.
REPEATS = "repeats"
# A trial that was cut short: why. Whoever writes it first is the one that queues the trial again.
CUT_SHORT = "cut_short"
NOTE = "note"
# A trial whose processes died so often is not tried again: it may be what kills them.
MOST_DEATHS = 3


def release_interrupted(study: optuna.Study, trial_number: int) -> bool:
    """Ends a trial that was interrupted and queues its parameters again, so that a rerun goes on where it was.

    `Study.optimize` has failed the trial already when KeyboardInterrupt arrives here; a worker that used `ask`
    leaves it running. Both end the same.

    Returns:
        Whether the parameters were queued; not if the trial finished after all, had proposed nothing yet, or
        another process has queued them.
    """
    trial = study.get_trials(deepcopy=False)[trial_number]
    if not _end(study, trial, "its run was stopped"):
        return False
    return _queue(study, trial, {})


def release_killed(study: optuna.Study, trial_number: int, reason: str) -> bool:
    """Likewise of a trial whose process died; one that has killed `MOST_DEATHS` of them fails for good.

    Args:
        study: the trial's.
        trial_number: of the trial.
        reason: what is known of the death, such as "out of memory"; a trial that is not tried again keeps it as its
            note.
    """
    trial = study.get_trials(deepcopy=False)[trial_number]
    deaths = trial.user_attrs.get(DEATHS, 0) + 1
    often = deaths >= MOST_DEATHS
    told = f"its worker died, the {MOST_DEATHS}rd one" if often else "its worker died"
    told = f"{told}: {reason}; {'it is not tried again' if often else 'it goes on as another trial'}"
    if not _end(study, trial, told, note=True):
        return False
    return not often and _queue(study, trial, {DEATHS: deaths})


def was_cut_short(study: optuna.Study, trial_number: int) -> bool:
    """Whether a trial was ended by others than the process that ran it, or released."""
    return CUT_SHORT in study.get_trials(deepcopy=False)[trial_number].user_attrs


def _end(study: optuna.Study, trial: FrozenTrial, reason: str, *, note: bool = False) -> bool:
    """Fails a running trial; whether this process is the first to cut it short."""
    if trial.state not in (TrialState.RUNNING, TrialState.FAIL):
        return False
    first = insert_trial_attr(study, trial, CUT_SHORT, reason)
    if first and note:
        insert_trial_attr(study, trial, NOTE, reason)
    if trial.state == TrialState.RUNNING:
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        if study.get_trials(deepcopy=False)[trial.number].state != TrialState.FAIL:
            return False  # it finished after all
    return first


def _queue(study: optuna.Study, trial: FrozenTrial, more: dict[str, int]) -> bool:
    # A trial from the queue may have been interrupted before it took all that was queued.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if not params:
        return False
    lasting = {key: trial.user_attrs[key] for key in _LASTING if key in trial.user_attrs}
    study.enqueue_trial(params, user_attrs={REPEATS: trial.number, **lasting, **more})
    return True
