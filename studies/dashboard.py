"""optuna-dashboard on a study database."""

import signal
import socket
import sys

from ..errors import StudyError, one_line
from .database.artifacts import artifact_store
from .database.storage import open_storage


def serve(url: str, host: str, port: int) -> None:
    """Serves optuna-dashboard until it is interrupted; the studies' networks are among its artifacts.

    Raises:
        StudyError: if there is no study database, or the address is taken.
    """
    from optuna_dashboard import run_server

    storage = open_storage(url, create=False)
    store = artifact_store(url)
    _check_free(host, port)
    print(f"optuna-dashboard on http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
    # Also where SIGINT was ignored when the process started, as in a shell's background, and for `kill`.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run_server(storage, host=host, port=port, artifact_store=store)
    except KeyboardInterrupt:
        sys.exit(0)


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise StudyError(f"cannot listen on {host}:{port}: {reason}; choose another --port or --host") from error
