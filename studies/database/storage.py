"""The study database: opened so that many workers can share it, and studies in it created, resumed and loaded."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from ...errors import StudyError, nearest
from ...names import COSTS
from ..definition.deciding import as_begun
from ..definition.reading import Definition, describe_difference, parse_stored, stored_fingerprint
from ..metric import ACCURACY, Metric
from .attributes import DEFINITION, FINGERPRINT, IDENTITY, METRIC
from .companions import delete_left_behind
from .migrations.state import State, state_of
from .migrations.upgrade import LOCK, upgrade
from .optuna_internals import as_format_string, set_study_attrs
from .places.addresses import (
    FAILURES,
    database_file,
    failure,
    is_sqlite,
    location_in,
    missing,
    parse_url,
    root_cause,
    shown_url,
    with_location,
)
from .places.connecting import OPENING_TIMEOUT, options_of
from .places.whereabouts import settle
from .retries import release_killed
from .tables.storage import StudyStorage

HEARTBEAT_INTERVAL = 15
GRACE_PERIOD = 45
# What is known of the death of a process that was not seen to die.
NO_SIGN_OF_LIFE = "it gave no sign of life any more"
# How long the one who finds a study without a definition waits for its creator to write it.
CREATION_TIMEOUT = 10


def open_storage(url: str, *, create: bool, told: Callable[[str], None] | None = None) -> StudyStorage:
    """The storage at a SQLAlchemy URL, its tables brought up to date; it may be pickled into workers.

    A new SQLite database is built beside its place and moved there whole, so that any number of processes may
    open it at once and a failure leaves nothing half-written.

    Args:
        url: For example `sqlite:///studies/branchfold.db`.
        create: Whether to create the database, its folder and its tables where they are missing.
        told: Receives a line where an earlier version's database was brought up to date.

    Raises:
        StudyError: If the URL is invalid, or the database is missing, locked, not writable, not a database, another
            program's or made by a newer version; nothing is changed then.
    """
    given = address = parse_url(url)
    path = database_file(given) if is_sqlite(given) else None
    if path is not None:
        address = given.set(database=str(path))
    try:
        if path is not None and create:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _create_file(address, path)
        if path is not None and not path.exists():
            raise missing(given)
        state = _state(address)
        if path is not None and create:
            _prepare(path)
    except (ImportError, *FAILURES) as error:
        raise failure(given, error) from error
    if not state.optuna and not create:
        raise missing(given)
    with _made_alone(address, create and not state.optuna):
        storage = _connect(address, create=create)
    if not state.current:
        storage.tables = create or state.earlier or state.revision is not None
        if storage.tables:
            _bring_up_to_date(storage, address, path, state, told)
    try:
        location = settle(storage, location_in(url), writes=create) if storage.tables else location_in(url)
    except FAILURES as error:
        raise failure(given, error) from error
    storage.url = with_location(storage.url, location)
    return storage


def open_study(
    storage: RDBStorage,
    definition: Definition,
    metric: Metric = ACCURACY,
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    told: Callable[[str], None] | None = None,
) -> optuna.Study:
    """The definition's study, created or resumed; several processes may call this at once.

    What the definition leaves to a rule stays as the study was begun with it.

    Args:
        storage: Where it is kept.
        definition: Of the study.
        metric: What it measures of its networks.
        sampler: Of its trials.
        pruner: Of its trials.
        told: Receives a line about each companion that a deleted study of this name left and that is deleted too.

    Raises:
        StudyError: If the database has a study of this name with another definition.
    """
    name = definition.study.name
    objectives = definition.study.objectives
    directions = [
        StudyDirection.MINIMIZE if objective in COSTS or not metric.higher_is_better else StudyDirection.MAXIMIZE
        for objective in objectives
    ]
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=directions, sampler=sampler, pruner=pruner
        )
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name, sampler=sampler, pruner=pruner)
        if _await_definition(study):
            definition = as_begun(definition, stored_definition(study))
            _check_same(study, definition)
            study.set_user_attr(DEFINITION, definition.to_dict())
            return study
    except FAILURES as error:
        raise failure(make_url(storage.url), error) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([name if name in COSTS else metric.name for name in objectives])
    for line in delete_left_behind(storage, name):
        if told is not None:
            told(line)
    # All at once: the fingerprint marks the study as complete.
    identity = {IDENTITY: uuid.uuid4().hex, METRIC: metric.to_dict()}
    set_study_attrs(study, {**identity, DEFINITION: definition.to_dict(), FINGERPRINT: definition.fingerprint()})
    return study


def has_study(storage: RDBStorage, name: str) -> bool:
    """Whether the storage has a study of this name."""
    return name in optuna.get_all_study_names(storage)


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """The study of this name.

    Raises:
        StudyError: If there is none; names those there are.
    """
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        known = optuna.get_all_study_names(storage=storage)
        there = f"it holds: {', '.join(known)}" if known else "it holds none yet"
        raise StudyError(
            f"no study {name!r} in {shown_url(storage.url)}{nearest(name, known)} ({there}; "
            f"`branchfold run` creates one)"
        ) from None


def stored_definition(study: optuna.Study) -> Definition:
    """The definition that the study was last run with.

    Raises:
        StudyError: If the study was not made by branchfold, or by a version with other keys.
    """
    tables = study.user_attrs.get(DEFINITION)
    if tables is None:
        raise StudyError(f"study {study.study_name!r} holds no definition: it was not made by `branchfold run`")
    return parse_stored(tables, f"stored definition of study {study.study_name}")


def _state(address: URL) -> State:
    engine = create_engine(address, **options_of(address))
    try:
        return state_of(engine, address)
    finally:
        engine.dispose()


def _bring_up_to_date(
    storage: StudyStorage, address: URL, path: Path | None, state: State, told: Callable[[str], None] | None
) -> None:
    try:
        kept = upgrade(storage.engine, path, keep_copy=state.optuna)
    except FAILURES as error:
        raise failure(address, error) from error
    if told is not None and state.earlier:
        copy = "" if kept is None else f"; as it was, it is kept in {kept}"
        told(f"{shown_url(address)} was brought to this version's form{copy}")


@contextmanager
def _made_alone(address: URL, makes: bool) -> Iterator[None]:
    """Optuna's tables are made by one process at a time: PostgreSQL fails where two make the same one."""
    if not makes or address.get_backend_name() != "postgresql":
        yield
        return
    engine = create_engine(address, **options_of(address))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            yield
    finally:
        engine.dispose()


def _connect(address: URL, *, create: bool) -> StudyStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            return StudyStorage(
                as_format_string(address.render_as_string(hide_password=False)),
                engine_kwargs=options_of(address),
                heartbeat_interval=HEARTBEAT_INTERVAL,
                grace_period=GRACE_PERIOD,
                heartbeat_stale_trial_callback=_goes_on,
                skip_table_creation=not create,
            )
        except (ImportError, *FAILURES) as error:
            if not create and "no such table" in str(root_cause(error)):
                raise missing(address) from None
            raise failure(address, error) from error


def _goes_on(study: optuna.Study, trial: FrozenTrial) -> None:
    """What Optuna does with a trial that it has failed, since its process gave no sign of life."""
    release_killed(study, trial.number, NO_SIGN_OF_LIFE)


def _create_file(address: URL, path: Path) -> None:
    """Builds an empty study database beside its place and links it there, unless another process was faster."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        try:
            storage = _connect(address.set(database=str(draft)), create=True)
            upgrade(storage.engine, draft, keep_copy=False)
        except StudyError as error:  # which names what the user knows nothing of
            raise StudyError(str(error).replace(draft.name, path.name)) from error
        storage.remove_session()
        storage.engine.dispose()
        _prepare(draft)
        try:
            os.link(draft, path)  # unlike a rename, never replaces a database that is there by now
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not path.exists():
                draft.rename(path)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                draft.with_name(draft.name + suffix).unlink()


def _prepare(path: Path) -> None:
    """Proves that the database can be written, and switches its write-ahead log on; both stay in the file."""
    with closing(sqlite3.connect(path, timeout=OPENING_TIMEOUT, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA journal_mode = WAL")


def _await_definition(study: optuna.Study) -> bool:
    """Whether the study has its definition; if not, its creator died before a trial could start.

    Raises:
        StudyError: If it has trials and no definition: somebody else's study.
    """
    deadline = time.monotonic() + CREATION_TIMEOUT
    while FINGERPRINT not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise StudyError(
                f"study {study.study_name!r} was not made by branchfold; choose another name, --set study.name=…"
            )
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _check_same(study: optuna.Study, definition: Definition) -> None:
    stored = stored_fingerprint(study.user_attrs[FINGERPRINT], f"stored definition of study {study.study_name}")
    difference = describe_difference(stored, definition.fingerprint())
    if difference:
        name = study.study_name
        raise StudyError(
            f"study {name!r} exists with another definition: {difference}; "
            f"start a new study with --set study.name={name}-2, or give the old values"
        )
