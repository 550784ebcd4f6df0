"""Database URLs: parsed, shown without their passwords, and one line for a database that cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote, quote_plus

from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from ....errors import StudyError, one_line
from .locations import check_location

# Everything that opening a database raises, from the driver up to Optuna's schema check (RuntimeError).
FAILURES = (SQLAlchemyError, sqlite3.Error, StorageInternalError, RuntimeError, OSError)
# What a database raises that is open.
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
# What a part of a URL's query is called that is nobody's business.
_SECRET = ("pass", "pwd", "secret", "token", "key", "credential")
# Of a URL's query, and no driver's: where the files lie that belong to the database.
ARTIFACTS = "artifacts"
# Plain postgresql:// means another driver in each version of SQLAlchemy.
_DRIVERS = {"postgresql": "postgresql+psycopg"}
_EXTRAS = {"psycopg": "; install it with pip install 'branchfold[postgresql]'"}


def parse_url(url: str) -> URL:
    """The parsed URL of a storage, without the place of its files; a SQLite one must name a file."""
    try:
        address = make_url(url)
        address = address.set(drivername=_DRIVERS.get(address.drivername, address.drivername))
        address.get_dialect()
        address = address.difference_update_query([ARTIFACTS])
    except NoSuchModuleError:
        raise StudyError(
            f"unknown kind of database {url.split(':')[0]!r}; use sqlite:///FILE or postgresql://…"
        ) from None
    except ImportError as error:
        raise failure(address, error) from None
    except (ArgumentError, ValueError):
        # The text is not repeated: a password in a malformed URL cannot be told from the rest.
        raise StudyError("the storage is not a database URL; for a file write sqlite:///path/to/file.db") from None
    if is_sqlite(address) and (address.database or ":memory:").startswith((":", "file:")):
        raise StudyError(f"{shown_url(address)} names no file to keep the study in; write sqlite:///path/to/file.db")
    if (location := location_in(url)) is not None:
        check_location(location)
    return address


def location_in(url: str) -> str | None:
    """Where a storage's URL says that its files lie: `artifacts` in its query; None where it says nothing."""
    given = make_url(url).query.get(ARTIFACTS)
    return given[-1] if isinstance(given, tuple) else given


def with_location(url: str, location: str | None) -> str:
    """A URL that `parse_url` gave, with the place of its files again."""
    if location is None:
        return url
    return make_url(url).update_query_dict({ARTIFACTS: location}).render_as_string(hide_password=False)


def is_sqlite(address: URL) -> bool:
    """Whether the URL is SQLite's, with any driver."""
    return address.get_backend_name() == "sqlite"


def database_file(address: URL) -> Path:
    """The absolute path of a SQLite URL's file; a relative one is under the working directory."""
    return Path(str(address.database)).absolute()


def is_there(url: str) -> bool:
    """Whether there is a database at a URL, as far as is known without asking a server.

    Raises:
        StudyError: if it is no database's URL.
    """
    address = parse_url(url)
    return not is_sqlite(address) or database_file(address).exists()


def shown_url(url: str | URL) -> str:
    """The URL as messages may show it: passwords replaced by ***."""
    address = make_url(url)
    secret = {key: "***" for key in address.query if _is_secret(key)}
    return address.update_query_dict(secret).render_as_string(hide_password=True).replace("%2A", "*")


def missing(address: URL) -> StudyError:
    """The error for a database that should be there already."""
    return StudyError(f"no study database at {shown_url(address)}; run `branchfold run STUDY` first")


def failure(address: URL, error: BaseException) -> StudyError:
    """One line on why a database cannot be used, and what to do."""
    cause = root_cause(error)
    if isinstance(cause, ImportError):
        how = _EXTRAS.get(str(cause.name), "; install it with pip")
        return StudyError(f"the driver of {shown_url(address)} needs the Python module {cause.name}{how}")
    reason = without_secrets(getattr(cause, "strerror", None) or one_line(cause), address)
    hint = "close the program that holds it and try again" if "locked" in reason else "check --storage"
    if "full" in reason or "disk I/O" in reason:  # SQLite says the latter where its log has no room
        hint = "make room on its disk and run the same command again"
    if "malformed" in reason:
        hint = "the file is damaged: put a copy of it back, with its folder `artifacts`, or begin anew with --storage"
    return StudyError(f"cannot use the study database {shown_url(address)}: {reason}; {hint}")


def without_secrets(message: str, address: URL) -> str:
    """A message of a driver's without the URL's passwords, as they are or as a URL writes them."""
    values = [address.password, *(value for key, value in address.query.items() if _is_secret(key))]
    for secret in filter(None, (str(value) for value in values if value is not None)):
        for written in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
            message = message.replace(written, "***")
    return message


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET)


def root_cause(error: BaseException) -> BaseException:
    """The error that the driver or the system raised first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def failure_beneath(error: BaseException | None, url: str) -> StudyError | None:
    """The line about a database that failed somewhere beneath an error, as Optuna raises it; None where none did."""
    while error is not None:
        if isinstance(error, DATABASE_ERRORS):
            return failure(make_url(url), error)
        error = error.__cause__ or error.__context__
    return None
