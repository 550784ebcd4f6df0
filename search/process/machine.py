"""What the machine has: memory that is free, and cores."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

# A limit of control groups from which on there is none: v1 writes "none" as the largest whole number of pages.
_UNLIMITED = 2**60


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that new processes may take: what the system has, or what is left of this process's control groups' limits.

    Args:
        root: of the file system.
    """
    try:
        free = [sizes_in(root / "proc/meminfo")["MemAvailable"]]
    except (OSError, KeyError):
        return None
    for folder in _control_groups(root):
        free += _left(folder, "memory.max", "memory.current", "inactive_file")
        free += _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return max(0, min(free))


def kills_for_memory(root: Path = Path("/")) -> int:
    """How many processes the kernel has killed since memory had run out, here or in this process's control groups."""
    counts = [_counted(root / "proc/vmstat")]
    counts += [_counted(folder / "memory.events") for folder in _control_groups(root)]
    return sum(counts)


def _counted(path: Path) -> int:
    try:
        counts = dict(line.split() for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counts.get("oom_kill", 0))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Waiting:
    """How long this thread waits for a core while others have it, from the beginning of the block to its end.

    Attributes:
        share: of the time that it wanted to run; 0 where the system does not tell, as all but Linux.
    """

    share = 0.0

    def __enter__(self) -> Self:
        self._before = _ran_and_waited()
        return self

    def __exit__(self, *error: object) -> None:
        ran, waited = (after - before for after, before in zip(_ran_and_waited(), self._before, strict=True))
        self.share = waited / (ran + waited) if ran + waited > 0 else 0.0


def _ran_and_waited() -> tuple[int, int]:
    """Nanoseconds that this thread has run, and has been ready to run without a core."""
    try:
        ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0, 0
    return int(ran), int(waited)


def _control_groups(root: Path) -> Iterator[Path]:
    """The folders of this process's memory control groups, with those above them, of both versions."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        group = top / path.lstrip("/")
        # In a container the path is often the host's, and its own limits lie at the top.
        while group != top and top in group.parents:
            yield group
            group = group.parent
        yield top


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> list[int]:
    """What a control group may still take, caches that the kernel would give up counted as free; none if unlimited."""
    try:
        bound = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        caches = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return []
    if bound == "max" or int(bound) >= _UNLIMITED:
        return []
    return [int(bound) - used + int(caches.get(reclaimable, 0))]


def sizes_in(path: Path) -> dict[str, int]:
    """The sizes in a file of /proc, in bytes."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1:] == ["kB"]}
