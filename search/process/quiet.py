"""Optuna's own lines kept off the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps Optuna's own lines off the terminal: progress tells the same."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def quiet_downloads() -> Iterator[None]:
    """Hugging Face's hub tells of no attempt that failed: whoever asked for the download tells of its end."""
    if find_spec("huggingface_hub") is None:
        yield
        return
    from huggingface_hub.utils import logging as hub

    before = hub.get_verbosity()
    hub.set_verbosity_error()
    try:
        yield
    finally:
        hub.set_verbosity(before)
