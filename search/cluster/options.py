"""Options of a run on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .cluster import Cluster


def ray_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The cluster, and what each worker takes of it, as a command's arguments `ray`, `worker_cpus`, `worker_gpus`."""
    ray = click.option(
        "--ray",
        metavar="ADDRESS",
        help="Run the workers on a Ray cluster: HOST:PORT of its head, or auto for this machine's.",
    )
    cpus = click.option(
        "--worker-cpus",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Cores of a cluster's node for each worker.",
    )
    gpus = click.option(
        "--worker-gpus",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="GPUs for each; 0.5 for two workers on one.",
    )
    return ray(cpus(gpus(command)))


@contextmanager
def as_cluster(address: str | None, cpus: int, gpus: float, storage: str) -> Iterator[Cluster | None]:
    """The cluster at an address, joined and checked to reach a storage; None without one.

    Raises:
        StudyError: if there is none, or it does not reach the storage.
    """
    if address is None:
        yield None
        return
    from .cluster import Needs, joined

    with joined(address, Needs(cpus, gpus)) as cluster:
        cluster.check(storage)
        cluster.room()
        yield cluster
