"""Studies that are not there yet, because their baselines are being made: known by a file that a living process renews.

A study is made with its baseline. Until then whoever asks for the studies of a storage sees of it what lies here.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ...files import whole_file
from .places.locations import modified
from .places.store import artifact_folder

_PREFIX = "beginning-"
# Seconds between signs of life, and after which a process without one is dead.
_INTERVAL = 10.0
_GRACE = 45.0


class Beginning(NamedTuple):
    """A study whose baseline is being made, and how many trials it is to have."""

    name: str
    wanted: int


@contextmanager
def beginning(url: str, name: str, wanted: int) -> Iterator[None]:
    """Tells others, as long as the block runs, that a study's baseline is being made.

    Where that cannot be written they are not told.

    Args:
        url: Of the storage.
        name: Of the study.
        wanted: Trials that it is to have.
    """
    place = artifact_folder(url).with_name("checkpoints") / f"{_PREFIX}{uuid.uuid4().hex}"
    text, ended = json.dumps(Beginning(name, wanted)._asdict()), threading.Event()

    def renew() -> None:
        while not ended.is_set():
            with suppress(OSError), whole_file(place) as draft:
                draft.write_text(text, "utf-8")
            ended.wait(_INTERVAL)

    renewing = threading.Thread(target=renew, name="beginning", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(OSError):
            place.unlink(missing_ok=True)


def beginnings(url: str) -> list[Beginning]:
    """The studies of a storage whose baselines are being made, by name."""
    folder, now, found = artifact_folder(url).with_name("checkpoints"), time.time(), set()
    with suppress(OSError):
        for file in folder.iterdir():
            if file.name.startswith(_PREFIX) and now - modified(file) < _GRACE:
                with suppress(OSError, ValueError, TypeError):
                    found.add(Beginning(**json.loads(file.read_text("utf-8"))))
    return sorted(found)
