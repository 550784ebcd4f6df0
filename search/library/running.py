"""A study run from Python, on a network, data and a task that are objects."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import StudyError
from ...models.networks.given import give
from ...studies.dashboard.keeping import Keeper
from ...studies.database.attributes import FINGERPRINT
from ...studies.database.storage import has_study, load_study, open_storage
from ...studies.definition.live import given_names, live_definition
from ...studies.definition.reading import Definition
from ..data.own.given import give_data
from ..events import Event, Listener
from ..process.signals import Interrupted
from ..run import processes
from ..space.courses import course_of
from ..tasks.given import give_task
from .logging import Logged
from .result import Result

_STORAGE = "sqlite:///studies/branchfold.db"
_GIVE: dict[str, Callable[[Any], str]] = {"network": give, "data": give_data, "task": give_task}
# What takes an object's place where another process is to build it.
_FACTORIES = {
    "network": 'model.factory = "path/to/file.py:FACTORY"',
    "data": 'data.name = "path/to/file.py:MAKE"',
    "task": 'task.name = "path/to/file.py:TASK"',
}


def run_study(
    definition: Definition | Mapping[str, Any] | str | Path,
    *,
    network: nn.Module | None = None,
    data: Any = None,
    task: Any = None,
    storage: str = _STORAGE,
    workers: int = 1,
    callbacks: Iterable[Listener] = (),
    loggers: Iterable[Any] = (),
    timeout: float | None = None,
    patience: int | None = None,
) -> Result:
    """Creates or resumes a study, runs it until it has its number of trials, and returns what it found.

    An object takes the place of a name in the definition, and a digest of it becomes part of the study: the study goes
    on with the same object alone.

    Args:
        definition: a `Definition`, a dict of its tables, the path of a TOML file, or a built-in study's name. What is
            given as an object may be missing in it.
        network: to prune. Its weights are the baseline; with `[baseline] epochs` they are trained further first.
        data: a LightningDataModule, or data sets or DataLoaders as a dict or tuple of train, validation and perhaps
            test.
        task: an object with `loss(outputs, targets)`, `metric(outputs, targets)`, `name` and `higher_is_better`.
        storage: SQLAlchemy URL of the database; created where it is missing.
        workers: processes that run trials. Several build network, data and task from names: they take no objects.
        callbacks: called with every event (`branchfold.search.events`).
        timeout: seconds after which what runs is stopped, to go on in the next run; in the main thread alone.
        patience: finished trials without a better one after which the study ends.
        loggers: of Lightning, such as TensorBoardLogger or CSVLogger: they get loss, α, learning rate and metric.

    Raises:
        BranchfoldError: for whatever can be mended; its text is one line.
        KeyboardInterrupt: if asked to stop; nothing that was finished is lost.
    """
    if workers < 1:
        raise StudyError(f"workers must be at least 1, but got {workers}")
    objects = {"network": network, "data": data, "task": task}
    given = {what: _GIVE[what](value) for what, value in objects.items() if value is not None}
    definition = live_definition(definition, given)
    _check_workers(definition, workers)
    _check_same_objects(definition, storage)
    with Logged(loggers) as logged:
        listeners: list[Listener] = [*callbacks, logged]

        def notify(event: Event) -> None:
            for listener in listeners:
                listener(event)

        try:
            study = processes.run_study(
                definition, storage, workers=workers, notify=notify, timeout=timeout, patience=patience
            )
        except Interrupted as stop:
            raise KeyboardInterrupt(f"stopped by signal {stop.number}") from None
    Keeper(study, course_of).finish()
    return Result(study, definition, storage)


def _check_workers(definition: Definition, workers: int) -> None:
    """Checks that several workers can build all they need.

    Raises:
        StudyError: if something is an object of this process.
    """
    if workers > 1 and (objects := list(given_names(definition))):
        places = " and ".join(_FACTORIES[what] for what in objects)
        raise StudyError(
            f"workers={workers}: each worker is a process of its own, and {_joined(objects)} given as objects lie in "
            f"this one: take workers=1, or set {places}"
        )


def _check_same_objects(definition: Definition, url: str) -> None:
    """Checks that a study which exists was begun with the objects that are given now.

    Raises:
        StudyError: if one is another.
    """
    name, given = definition.study.name, given_names(definition)
    try:
        storage = open_storage(url, create=False)
    except StudyError:  # none yet, or one that cannot be opened, which is told when it is to be
        return
    if not given or not has_study(storage, name):
        return
    before = load_study(storage, name).user_attrs.get(FINGERPRINT, {})
    keys = {"network": ("model", "factory"), "data": ("data", "name"), "task": ("task", "name")}
    for what, digest in given.items():
        table, key = keys[what]
        known = before.get(table, {}).get(key, digest)
        if known != digest:
            what_counts = {"network": "structure and weights", "data": "lengths and examples", "task": "attributes"}
            raise StudyError(
                f"study {name!r} was begun with another {what} ({known}, now {digest}: {what_counts[what]} count): "
                f"give the same one again, or choose another study.name"
            )


def _joined(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
