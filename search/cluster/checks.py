"""What a study needs before other machines can run it: a database and files that every one of them reaches."""

from collections.abc import Collection

from ...errors import StudyError
from ...studies.database.places.addresses import is_sqlite, location_in, parse_url, shown_url
from ...studies.database.places.locations import is_remote
from ...studies.database.places.whereabouts import located

# Hosts that are each machine itself; a PostgreSQL URL without one means a socket of this machine.
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


def check_reach(url: str, others: Collection[str]) -> None:
    """Checks that what a study is kept in can be reached from the cluster's other machines.

    Args:
        url: of the study's database.
        others: addresses of the nodes that are not this machine.

    Raises:
        StudyError: if there are other machines and the database is a file or this machine's alone, or nothing says
            where all of them find the files.
    """
    if not others:
        return
    address, there = parse_url(url), f"the cluster has {_machines(others)}"
    if is_sqlite(address):
        raise StudyError(
            f"{there}, and SQLite is no database for several machines: its locks do not hold on network file systems; "
            f"use --storage postgresql://USER@SERVER/NAME"
        )
    host = address.host or str(address.query.get("host", ""))
    if host in _LOOPBACK or host.startswith("/"):
        raise StudyError(
            f"{there}, which cannot reach {shown_url(address)}: name the server as they know it, "
            f"postgresql://USER@SERVER/NAME"
        )
    location = location_in(located(url))
    if location is None:
        raise StudyError(
            f"{there}, and networks and checkpoints would lie on this one alone: add a place that all of them reach "
            f"to the storage's URL, ?artifacts=s3://BUCKET/FOLDER or ?artifacts=/SHARED/FOLDER"
        )
    if not is_remote(location) and not location.startswith("/"):
        raise StudyError(
            f"artifacts={location} is another folder on each machine: give it from the root on, as /{location}"
        )


def _machines(others: Collection[str]) -> str:
    named = ", ".join(sorted(others)[:3])
    more = "" if len(others) <= 3 else f" and {len(others) - 3} more"
    return f"the other machine {named}" if len(others) == 1 else f"the other machines {named}{more}"
