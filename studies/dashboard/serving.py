"""The server: optuna-dashboard on a study database, its artifacts shielded."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ...errors import StudyError, one_line
from ..database.places.store import artifact_store
from ..database.storage import open_storage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_SHIELD = [
    ("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    ("Content-Disposition", "attachment"),
    ("X-Content-Type-Options", "nosniff"),
]
# The dashboard allows every origin to read artifacts.
_REPLACED = {"content-security-policy", "content-disposition", "x-content-type-options", "access-control-allow-origin"}


def serve(url: str, host: str, port: int) -> None:
    """Serves optuna-dashboard until it is interrupted; the studies' networks are among its artifacts.

    Raises:
        StudyError: if there is no study database, or the address is taken.
    """
    from optuna_dashboard import wsgi

    storage = open_storage(url, create=False)
    storage.tables = False  # what our tables hold would be long texts there; the notes have it in words
    store = artifact_store(storage.url)
    _check_free(host, port)
    print(f"optuna-dashboard on http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
    # Also where SIGINT was ignored when the process started, as in a shell's background, and for `kill`.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with make_server(host, port, shielded(wsgi(storage, artifact_store=store)), _Server, _Handler) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


def shielded(application: WSGIApplication) -> WSGIApplication:
    """The application with its artifacts as downloads that no browser runs: a page among them would be the dashboard's.

    Pictures are shown where the dashboard shows them; even opened by themselves they run nothing.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith("/artifacts/"):
            return application(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            kept = [pair for pair in headers if pair[0].lower() not in _REPLACED]
            return start_response(status, [*kept, *_SHIELD], *more)

        return application(environ, start)

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing of each request."""


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise StudyError(f"cannot listen on {host}:{port}: {reason}; choose another --port or --host") from error
