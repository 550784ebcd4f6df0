"""Where a database's files lie is remembered in it: whoever opens it by a URL without `artifacts` finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.exc import SQLAlchemyError

from ....errors import StudyError, one_line
from ..tables.models import Baseline, Network, Place, table_of
from ..tables.statements import put
from ..tables.storage import StudyStorage
from .addresses import ARTIFACTS, is_there, location_in, parse_url, shown_url, with_location
from .connecting import options_of
from .locations import folder_at, is_local, is_remote
from .store import artifact_folder

Answer = TypeVar("Answer")

# The number of the only row.
_ROW = 1


def located(url: str) -> str:
    """A storage's URL with the place of its files, where the database remembers one and the URL names none.

    A database that is not there, or cannot be asked, remembers nothing: opening it tells why.

    Raises:
        StudyError: If the URL is no database's.
    """
    parse_url(url)
    return url if location_in(url) is not None else with_location(url, _asked(url, remembered))


def reachable(url: str) -> str:
    """A storage's URL with the place of its files, which is there if there are any; other arguments as `located`'s.

    Raises:
        StudyError: If files of the database lie in a folder that is not there, for example not mounted.
    """
    url = located(url)
    if location_in(url) is None or not is_local(folder := artifact_folder(url)) or folder.is_dir():
        return url
    if _asked(url, _names):
        raise StudyError(
            f"the files of {shown_url(parse_url(url))} lie in {folder}, which is not there: mount it, or tell where "
            f"they are now, --storage '{shown_url(parse_url(url))}?{ARTIFACTS}=FOLDER'"
        )
    return url


def remembered(connection: Connection) -> str | None:
    """The location that a database with our tables has; None for none."""
    found: str | None = connection.execute(select(table_of(Place).c.location)).scalar()
    return found


def remember(connection: Connection, location: str) -> None:
    """Keeps a location, in place of the one before."""
    put(connection, Place, [{"number": _ROW, "location": absolute(location)}])


def absolute(location: str) -> str:
    """A location that means the same in every working directory."""
    return location if is_remote(location) else str(folder_at(location))


def settle(storage: StudyStorage, given: str | None, *, writes: bool) -> str | None:
    """The location of a storage's files: the given one, else the remembered one; None for beside the database.

    Args:
        storage: That was opened; its URL names no location yet.
        given: In its URL.
        writes: Whether what is given is remembered.

    Raises:
        StudyError: If the database names files that do not lie at the given location.
    """
    with storage.engine.connect() as connection:
        known, names = remembered(connection), _names(connection) if given is not None else set()
    if given is None or absolute(given) == known:
        return known
    _check_there(with_location(storage.url, known), with_location(storage.url, given), names)
    if writes:
        with storage.engine.begin() as connection:
            remember(connection, given)
    return absolute(given)


def _asked(url: str, question: Callable[[Connection], Answer]) -> Answer | None:
    """What a database answers; None where it is not there, or cannot be asked."""
    if not is_there(url):
        return None
    address = parse_url(url)
    try:
        engine = create_engine(address, **options_of(address))
        try:
            with engine.connect() as connection:
                return question(connection)
        finally:
            engine.dispose()
    except (ImportError, SQLAlchemyError):  # an earlier version's database has no such table
        return None


def _names(connection: Connection) -> set[str]:
    """The files of networks and baselines."""
    columns = (table_of(Network).c.file, table_of(Baseline).c.file)
    return {name for c in columns for name in connection.execute(select(c).where(c.is_not(None))).scalars()}


def _check_there(before: str, url: str, names: set[str]) -> None:
    """Checks that files lie where a URL says; one of them is enough, since some may be lost.

    Args:
        before: The URL with the location that was known so far.
        url: That says where they lie now.
        names: Of the files that the database names; none of them need to be anywhere.

    Raises:
        StudyError: If all of them lie somewhere else, or nobody knows.
    """
    if not names:
        return
    folder = artifact_folder(url)
    try:
        there = {file.name for file in folder.iterdir()}
    except FileNotFoundError:
        there = set()
    except Exception as error:  # whatever the driver of that place raises
        raise StudyError(f"cannot reach {folder}, where the study's files are to lie: {one_line(error)}") from error
    if not names & there:
        raise StudyError(
            f"no file of {shown_url(parse_url(url))} lies in {folder}: they belong to {artifact_folder(before)}; leave "
            f"artifacts= out of --storage, or move that folder there first"
        )
