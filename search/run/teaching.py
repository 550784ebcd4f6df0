"""A study's trials are taught by what its baseline says of the training images, computed once for all of them."""

from dataclasses import replace

import optuna
from optuna.storages import RDBStorage
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ...errors import StudyError
from ...studies.database.places.store import artifact_store
from ...studies.database.teaching import keep_taught, taught_file
from ...studies.definition.deciding import without_rule
from ...studies.definition.dimensions import extremes
from ..data.splits import ImageData
from ..events import Listener, Notice
from ..training.device import training_device
from ..training.teaching import compute_of, known_outputs
from ..trial.problem import Problem

_OUTPUTS = "outputs"


def with_taught(
    problem: Problem, baseline: nn.Module, study: optuna.Study, storage: RDBStorage, notify: Listener
) -> Problem:
    """The problem with the baseline's outputs for the training images, where a trial of the study may need them.

    They are the study's, kept beside its baseline: made now if no process has made them, or their file is gone or
    damaged.

    Args:
        problem: the study's.
        baseline: its trained network.
        study: the study.
        storage: its database.
        notify: hears that they are computed, and if they cannot be kept.
    """
    if not _may_need(problem, baseline):
        return problem
    assert isinstance(problem.data, ImageData)
    store = artifact_store(storage.url)
    known = _read(taught_file(study, store))
    if known is not None and len(known) == len(problem.data.train):
        return replace(problem, known=known)
    compute = compute_of(problem.data)
    notify(
        Notice(
            f"the baseline's outputs for the {len(problem.data.train)} training images are computed, once for all "
            f"trials: {compute:.2f} epochs of its training's compute"
        )
    )
    device = training_device(problem.definition.trial.device)
    known = known_outputs(baseline, problem.data, problem.arithmetic, device)
    try:
        if not keep_taught(study, store, save({_OUTPUTS: known}), compute):  # another process was faster
            theirs = _read(taught_file(study, store))
            known = known if theirs is None else theirs
    except StudyError as error:
        notify(Notice(f"{error}; the next run computes it again"))
    return replace(problem, known=known)


def _may_need(problem: Problem, baseline: nn.Module) -> bool:
    """Whether a trial of the study may be taught what is known beforehand."""
    training = without_rule(problem.definition).space.training
    if all(weight == 0 for weight in extremes(training.distillation)):
        return False
    return any(problem.may_know(baseline, augment) for augment in extremes(training.augment))


def _read(content: bytes | None) -> Tensor | None:
    if content is None:
        return None
    try:
        return load(content)[_OUTPUTS]
    except (SafetensorError, KeyError):
        return None
