"""What a database is before anything is done to it: ours, Optuna's alone, another program's, a newer version's."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine, column, inspect, select, table, text
from sqlalchemy.engine import URL

from ....errors import StudyError
from ..attributes import DEFINITION
from ..places.addresses import shown_url

# The form of the tables that this version has: its last revision.
HEAD = "0003"
VERSION_TABLE = "branchfold_version"
# By these a database of Optuna's is known.
_OPTUNAS = {"studies", "trials", "study_user_attributes", "trial_user_attributes"}
_SHOWN = 3
_ATTRIBUTES = table("study_user_attributes", column("key"))
_DEFINED = select(_ATTRIBUTES.c.key).where(_ATTRIBUTES.c.key == DEFINITION).limit(1)


class State(NamedTuple):
    """What a database has: Optuna's tables; ours, of which revision; what an earlier version made."""

    optuna: bool
    revision: str | None
    earlier: bool

    @property
    def current(self) -> bool:
        """Whether our tables have this version's form."""
        return self.revision == HEAD


def state_of(engine: Engine, address: URL) -> State:
    """Looks, and changes nothing.

    Raises:
        StudyError: If the database is another program's, or was made by a newer version.
        SQLAlchemyError: If it cannot be read.
    """
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
        if not names >= _OPTUNAS:
            _check_empty(names, address)
            return State(optuna=False, revision=None, earlier=False)
        revision = None
        if VERSION_TABLE in names:
            revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        if revision is not None and revision > HEAD:
            raise StudyError(
                f"{shown_url(address)} was made by a newer version of branchfold (its tables are {revision}, this "
                f"version's {HEAD}): install that version, or choose another --storage"
            )
        earlier = revision is None and connection.execute(_DEFINED).first() is not None
        earlier = earlier or revision not in (None, HEAD)
    return State(optuna=True, revision=revision, earlier=earlier)


def _check_empty(names: set[str], address: URL) -> None:
    if names:
        listed = ", ".join(sorted(names)[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
        raise StudyError(
            f"{shown_url(address)} is a database of another program (it has the tables {listed}); nothing was changed, "
            f"choose another --storage"
        )
