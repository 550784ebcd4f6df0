"""A PostgreSQL server of the tests' own, on a socket in a folder of its own, which goes with it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

# As root, which PostgreSQL refuses to run as, it runs as the first of these that is there.
_USERS = ("postgres", "nobody")


class NoServer(Exception):  # noqa: N818
    """Why none can be had."""


class PostgreSQL:
    """A running server.

    Raises:
        NoServer: if none can be had on this machine.
    """

    def __init__(self):
        self._tools = _tools()
        self._user, self._as_user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="branchfold-pg-"))
        if self._as_user:
            shutil.chown(self.folder, self._user)
        # Nothing of it must outlast a crash of the machine.
        self._run("initdb", "-D", self.data, "--auth=trust", "--no-sync", "--encoding=UTF8", "--username=tests")
        self.start()

    @property
    def data(self):
        return self.folder / "data"

    def start(self):
        options = f"-c listen_addresses='' -k {self.folder} -F -c log_min_messages=fatal"
        self._run("pg_ctl", "-D", self.data, "-w", "-s", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "-D", self.data, "-w", "-s", "-m", mode, "stop")

    def database(self, name):
        """The URL of a new, empty database."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="tests", dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://tests@/{name}?host={self.folder}"

    def close(self):
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, tool, *arguments):
        done = subprocess.run(
            [*self._as_user, self._tools / tool, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise NoServer(f"{tool} of PostgreSQL ends with status {done.returncode}: {done.stderr.strip()}")


def _tools():
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / tool).exists() for tool in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise NoServer("no PostgreSQL server is installed (initdb, pg_ctl, postgres)")


def _user():
    """The user that it runs as, and how a command becomes that user."""
    if os.geteuid() != 0:
        return None, []
    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if shutil.which("setpriv"):
            return name, ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    raise NoServer("PostgreSQL does not run as root, and there is no setpriv to become another user with")
