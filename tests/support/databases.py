"""A PostgreSQL server for the session of tests, and empty databases of it."""

import os
import uuid

import pytest
from servers import NoServer, PostgreSQL


@pytest.fixture(scope="session")
def server():
    needed = "BRANCHFOLD_NEEDS_POSTGRESQL" in os.environ
    if not needed:
        pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    try:
        server = PostgreSQL()
    except NoServer as why:
        if needed:
            raise
        pytest.skip(str(why))
    yield server
    server.close()


@pytest.fixture
def empty_postgresql(server):
    """The URL of a new database."""
    return server.database(f"t{uuid.uuid4().hex[:12]}")
